"""Refuse, before time is spent, models whose attention cannot be captured exactly."""

from __future__ import annotations

import torch
from torch import nn

from attn.errors import CaptureError

_FAST = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Modules of torch with a fast path for inference, which hooks switch off."""


def refuse_unobservable(model: nn.Module, name: str) -> None:
    """Raise if a model runs its attention where hooks see nothing or see something else.

    Raises:
        CaptureError: compiled, sliced, sent to another attention library, or offloaded layer by
            layer on the CPU; with the call that undoes it.
    """
    for path, module in model.named_modules():
        obstacle = _obstacle(module)
        if obstacle is not None:
            where = f"{name}.{path}" if path else name
            raise CaptureError(f"cannot capture {where}: {obstacle}")


def _obstacle(module: nn.Module) -> str | None:
    if getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod"):
        return (
            "it is compiled, and compiled code runs past every hook; load the model without "
            "torch.compile, or pass the module that was compiled (`model._orig_mod`)"
        )
    if (
        isinstance(module, _FAST)
        and not module.training
        and torch.backends.mha.get_fastpath_enabled()
    ):
        return (
            "torch takes another path through it while hooks are attached, with slightly other "
            "numbers; call torch.backends.mha.set_fastpath_enabled(False) before both runs"
        )
    processor = getattr(module, "processor", None)
    if hasattr(processor, "slice_size"):
        return (
            "attention slicing is on and changes the picture; call pipe.disable_attention_slicing()"
        )
    backend = getattr(processor, "_attention_backend", None)
    if backend is not None and "native" not in str(backend).lower():
        return f"its attention backend is {backend}; call model.reset_attention_backend()"
    if "xformers" in type(processor).__name__.lower():
        return "call pipe.disable_xformers_memory_efficient_attention(): xformers hides its numbers"
    hook = getattr(module, "_hf_hook", None)
    if any(map(_offloads_on_cpu, getattr(hook, "hooks", (hook,)))):
        return (
            "sequential offload on the CPU does not work in accelerate; call "
            "pipe.remove_all_hooks(), or use --offload model"
        )
    return None


def _offloads_on_cpu(hook: object) -> bool:
    return bool(getattr(hook, "offload", False)) and (
        str(getattr(hook, "execution_device", "")) == "cpu"
    )
