"""LoRAs in a loaded pipeline: put in for one batch, and taken out again without a trace.

The change is computed by peft's layers, beside the weights that it belongs to: query and key come
out changed, paths of modules stay as they are, and so does every weight. Which tensor belongs to
which module is decided by `attn.lora`, so that what `attn lora` says of a file is what happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from attn.demo.shipped import other_lora
from attn.errors import CaptureError, ModelError
from attn.lora.base import Base, describe_base
from attn.lora.file import LoraFile
from attn.lora.fit import Fit, fit, require_fit
from attn.lora.layouts import Place
from attn.lora.names import TOWERS, changes
from attn.lora.tensors import Stored
from attn.lora.usable import completed, usable
from attn.schema import Lora

KEPT = 4
"""So many combinations of LoRAs stay ready to be put in; more would fill the memory."""

Layers = Mapping[str, Mapping[str, nn.Module]]
"""Peft's layers that are put in, by tower and path."""


class Factors(NamedTuple):
    """The change of one weight, scale · up · down.

    Attributes:
        down: (rank, columns), with the kernel of a convolution.
        up: (rows, rank).
        scale: alpha / rank, times what is asked for.
    """

    down: Tensor
    up: Tensor
    scale: float


def complete(loras: Sequence[Lora], family: str) -> tuple[Lora, ...]:
    """Return LoRAs completed and in order, after all that can be checked without a model.

    Raises:
        ModelError: peft is not installed, or a file cannot be used: see `attn.lora.usable`.
    """
    if find_spec("peft") is None:
        raise ModelError("LoRAs need the package peft, which is not here: pip install 'attn[lora]'")
    try:
        return completed(loras, family)
    except ModelError as error:
        others = (other_lora(lora.path, family) for lora in loras)
        name = next(filter(None, others), None)
        if name is None:
            raise
        raise ModelError(
            f"{error}. The demo of '{family}' has a LoRA of its own: --lora {name}"
        ) from error


class Adapters:
    """The LoRAs of a session."""

    def __init__(self, pipe: Any, denoiser: str, family: str) -> None:
        self._pipe = pipe
        self._denoiser = denoiser
        self._family = family
        self.complete = lru_cache(self._complete)
        self._layers = lru_cache(KEPT)(self._make_layers)

    @contextmanager
    def active(self, loras: Sequence[Lora]) -> Iterator[None]:
        """Draw with LoRAs that are completed; at the end every module is the one that was there.

        Nothing is put in for a scale of 0, so that the picture is the base's, bit for bit.
        """
        towers = self._towers()
        with ExitStack() as stack:
            for tower, layers in self._layers(tuple(one for one in loras if one.scale)).items():
                stack.enter_context(_put_in(towers[tower], layers))
            yield

    def _complete(self, loras: tuple[Lora, ...]) -> tuple[tuple[Lora, ...], tuple[str, ...]]:
        """Check that LoRAs fit; return them completed, and warnings of what does not.

        Raises:
            ModelError: a LoRA cannot be used, or most of it does not fit.
            CaptureError: the pipeline cannot be changed.
        """
        self._refuse_changed()
        known = complete(loras, self._family)
        fits = ((file, self._fit(file)) for file in (usable(one, self._family) for one in known))
        warnings = (require_fit(file, found) for file, found in fits)
        return known, tuple(filter(None, warnings))

    def _towers(self) -> dict[str, nn.Module]:
        parts = [getattr(self._pipe, name, None) for name in (self._denoiser, *TOWERS[1:])]
        return {tower: part for tower, part in zip(TOWERS, parts, strict=True) if part is not None}

    def _fit(self, file: LoraFile) -> Fit:
        return fit(file, describe_towers(self._towers()))

    def _refuse_changed(self) -> None:
        """Refuse pipelines that their owner changed so that LoRAs would mix or miss.

        Raises:
            CaptureError: with the call that undoes it.
        """
        for tower, model in self._towers().items():
            for path, module in model.named_modules():
                if hasattr(module, "base_layer"):
                    raise CaptureError(
                        f"{tower}.{path} has a LoRA already; call pipe.unload_lora_weights(), or "
                        "capture with those LoRAs alone"
                    )
                if getattr(module, "fused_projections", False):
                    raise CaptureError(
                        f"{tower}.{path} has fused projections, which LoRAs do not reach; call "
                        f"pipe.{self._denoiser}.unfuse_qkv_projections()"
                    )

    def _make_layers(self, loras: tuple[Lora, ...]) -> Layers:
        found: dict[str, dict[str, list[Factors]]] = {}
        for lora in loras:
            file = usable(lora, self._family)
            tensors = {change.name: change.tensors for change in changes(file.header.tensors)[0]}
            for module, place in self._fit(file).placed:
                parts = {
                    role: Stored(file.path, info) for role, info in tensors[module.name].items()
                }
                tower = found.setdefault(module.tower, {})
                for path, factors in _factors(parts, place, module.scale * lora.scale):
                    tower.setdefault(path, []).append(factors)
        towers = self._towers()
        return {
            tower: {
                path: _layer(towers[tower].get_submodule(path), all_of_it)
                for path, all_of_it in by_path.items()
            }
            for tower, by_path in found.items()
        }


def describe_towers(towers: Mapping[str, nn.Module]) -> Base:
    """Return where the weights are that peft can change; their shapes only."""
    return describe_base(
        Path(),
        {
            tower: {
                path: tuple(module.weight.shape)
                for path, module in model.named_modules()
                if isinstance(module, (nn.Linear, nn.Conv2d))
            }
            for tower, model in towers.items()
        },
    )


def _factors(
    parts: Mapping[str, Stored], place: Place, scale: float
) -> Iterator[tuple[str, Factors]]:
    """Yield the factors for each weight; query, key and value may be one module in the file."""
    down, up = (torch.from_numpy(parts[role].read()) for role in ("down", "up"))
    if place.is_swapped:
        up = torch.cat(up.chunk(2)[::-1])
    rows = [stored.info.shape[0] for stored in place.weight]
    for path, own in zip(place.paths, up.flatten(1).split(rows), strict=True):
        yield path, Factors(down, own, scale)


def _layer(module: Any, stack: Sequence[Factors]) -> nn.Module:
    """Return a layer that adds changes to what a module computes, in the order of the stack.

    Args:
        module: linear, or a convolution of two dimensions; it stays as it is.
        stack: at least one change.

    Raises:
        CaptureError: the module's weight is elsewhere.
    """
    from peft import LoraConfig
    from peft.tuners.lora import Conv2d, Linear

    weight = module.weight
    if weight.is_meta:
        raise CaptureError(
            "LoRAs cannot be put into a model that is offloaded layer by layer; call "
            "pipe.remove_all_hooks(), or use --offload model"
        )
    config = LoraConfig(init_lora_weights=False, inference_mode=True)
    names = [str(place) for place in range(len(stack))]
    ranks = [len(factors.down) for factors in stack]
    make = Conv2d if isinstance(module, nn.Conv2d) else Linear
    layer: Any
    with init_empty_weights():
        layer = make(module, names[0], config=config, r=ranks[0], lora_alpha=ranks[0])
        for name, rank in zip(names[1:], ranks[1:], strict=True):
            layer.update_layer(name, rank, lora_alpha=rank, config=config)
    for name, rank, factors in zip(names, ranks, stack, strict=True):
        ones = (1,) * (weight.ndim - 2)
        down = factors.down.reshape(rank, *weight.shape[1:])
        layer.lora_A[name].weight = _frozen(down, weight)
        layer.lora_B[name].weight = _frozen(factors.up.reshape(-1, rank, *ones), weight)
        layer.scaling[name] = factors.scale
    layer.set_adapter(names, inference_mode=True)
    layer.eval()
    return cast("nn.Module", layer)


def _frozen(values: Tensor, like: Tensor) -> nn.Parameter:
    """Return a parameter beside a weight, in memory of its own."""
    return nn.Parameter(values.to(like.device, like.dtype, copy=True), requires_grad=False)


@contextmanager
def _put_in(model: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[None]:
    own = {path: model.get_submodule(path) for path in layers}
    try:
        for path, layer in layers.items():
            model.set_submodule(path, layer)
        yield
    finally:
        for path, module in own.items():
            model.set_submodule(path, module)
