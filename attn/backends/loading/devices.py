"""Where a model runs and in which precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from attn.engine.walks import walk_modules, walk_parameters
from attn.errors import RequestError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

ALIGNMENT = 64
"""Bytes; torch's own memory begins at multiples of it."""


def choose_device(name: str) -> str:
    """Return the device to use, for `auto` a GPU where there is one.

    Raises:
        RequestError: it cannot be used.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as exc:
        fact = str(exc).partition("\n")[0].partition(". ")[0]  # torch goes on to list its kernels
        raise RequestError(f"device '{name}' cannot be used: {fact}") from exc
    return name


def check_devices(names: Sequence[str]) -> None:
    """Refuse devices that this machine does not have, without taking memory of any.

    Raises:
        RequestError: names the first, and how many there are.
    """
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError as exc:
            fact = str(exc).partition("\n")[0]
            raise RequestError(f"device '{name}' cannot be used: {fact}") from exc
        count = torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= count:
            raise RequestError(
                f"device '{name}' cannot be used: this machine has {count} such devices; name "
                "fewer, or give --workers N, which share them"
            )


def choose_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype of the weights, for `auto` float32 on the CPU and bfloat16 elsewhere."""
    return DTYPES.get(name) or (torch.float32 if device == "cpu" else torch.bfloat16)


def align(model: nn.Module) -> None:
    """Move weights to addresses that kernels like.

    Weights that are still in the mapped file begin wherever the file has them, and some kernels
    round otherwise there: the same model would give other results from another file.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.data_ptr() % ALIGNMENT:
            tensor.data = tensor.data.clone()


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name without its module: `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def count_parameters(model: nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in walk_parameters(model))


def switch_to_inference(model: nn.Module) -> None:
    """Call `eval()` where it changes anything."""
    if any(module.training for _, module in walk_modules(model)):
        model.eval()
