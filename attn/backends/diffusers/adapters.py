"""LoRAs in a loaded pipeline: put in for one batch, and taken out again without a trace.

A change of two factors is computed by peft's layers, beside the weights that it belongs to; any
other (DoRA, LoHa, LoKr, biases, …) is added to a copy of the weight. Query and key come out
changed, paths of modules stay as they are, and so does every weight of the model. Which tensor
belongs to which module, and by which formula, is decided by `attn.lora`, so that what `attn lora`
says of a file is what happens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from attn.backends.loading.unfilled import Unfilled
from attn.demo.shipped import other_lora
from attn.errors import CaptureError, ModelError, RequestError
from attn.lora.base.fit import fit, require_fit
from attn.lora.base.layouts import BaseWeight
from attn.lora.base.weights import Base, describe_base
from attn.lora.deltas import Strength, bias_delta, is_written_out, weight_delta
from attn.lora.file import LoraFile, Module
from attn.lora.names import TOWERS
from attn.lora.oddities import TOLD
from attn.lora.reader import tensors_of
from attn.lora.tensors import Stored, Values
from attn.lora.usable import completed, usable
from attn.schema import Lora

KEPT = 4
"""So many combinations of LoRAs stay ready to be put in; more would fill the memory."""

Layers = Mapping[str, Mapping[str, nn.Module]]
"""Peft's layers that are put in, by tower and path."""


class Written(NamedTuple):
    """The change of one module, written out in float64; None where nothing changes.

    Attributes:
        weight: (rows, columns).
        bias: (rows,).
    """

    weight: Tensor | None
    bias: Tensor | None


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


Change = Factors | Written


def complete(loras: Sequence[Lora], families: Sequence[str]) -> tuple[Lora, ...]:
    """Return LoRAs completed and in order, after all that can be checked without a model.

    Args:
        loras: in any order.
        families: that the model may be of, the usual one first.

    Raises:
        ModelError: peft is not installed, or a file cannot be used: see `attn.lora.usable`.
    """
    if find_spec("peft") is None:
        raise ModelError("LoRAs need the package peft, which is not here: pip install 'attn[lora]'")
    with _demo_named(loras, families[0]):
        return completed(loras, families)


def scaled(loras: Sequence[Lora], text_scale: float | None) -> tuple[Lora, ...]:
    """Return LoRAs, with a scale for each text encoder that has none by part.

    Raises:
        RequestError: the scale is no number.
    """
    if text_scale is None:
        return tuple(loras)
    if not math.isfinite(text_scale):
        raise RequestError(f"lora_text_encoder_scale must be a number; got {text_scale}")
    usual = dict.fromkeys(TOWERS[1:], text_scale)
    return tuple(replace(lora, parts=tuple((usual | dict(lora.parts)).items())) for lora in loras)


@contextmanager
def _demo_named(loras: Sequence[Lora], family: str) -> Iterator[None]:
    """Name the LoRA of a family's demo, where that of another demo is refused in the block."""
    try:
        yield
    except ModelError as error:
        name = next(filter(None, (other_lora(lora.path, family) for lora in loras)), None)
        if name is None:
            raise
        raise ModelError(
            f"{error}. The demo of '{family}' has a LoRA of its own: --lora {name}"
        ) from error


class Adapters:
    """The LoRAs of a session."""

    def __init__(self, pipe: Any, denoiser: str, families: Sequence[str]) -> None:
        self._pipe = pipe
        self._denoiser = denoiser
        self._families = tuple(families)
        self.complete = lru_cache(self._complete)
        self._layers = lru_cache(KEPT)(self._make_layers)

    @contextmanager
    def active(self, loras: Sequence[Lora]) -> Iterator[None]:
        """Draw with LoRAs that are completed; at the end every module is the one that was there.

        Nothing is put in for a scale of 0, so that the picture is the base's, bit for bit.
        """
        towers = self._towers()
        acting = tuple(lora for lora in loras if any(lora.scales))
        with ExitStack() as stack:
            for tower, layers in self._layers(acting).items():
                stack.enter_context(_put_in(towers[tower], layers))
            yield

    def _complete(self, loras: tuple[Lora, ...]) -> tuple[tuple[Lora, ...], tuple[str, ...]]:
        """Check that LoRAs fit; return them completed, and warnings of what does not.

        Raises:
            ModelError: a LoRA cannot be used, or most of it does not fit.
            CaptureError: the pipeline cannot be changed.
        """
        self._refuse_changed()
        completed = complete(loras, self._families)
        warnings = list(_repeated([(lora, usable(lora, self._families)) for lora in completed]))
        base = describe_towers(self._towers())
        for lora in completed:
            file = usable(lora, self._families)
            with _demo_named([lora], self._families[0]):
                misfit = require_fit(file, base, self._families)
            warnings += [misfit] if misfit else []
            warnings += [f"{file.path}: {odd.message}" for odd in file.oddities if odd.kind in TOLD]
            warnings += _idle_parts(lora, file)
        return completed, tuple(warnings)

    def _towers(self) -> dict[str, nn.Module]:
        parts = [getattr(self._pipe, name, None) for name in (self._denoiser, *TOWERS[1:])]
        return {tower: part for tower, part in zip(TOWERS, parts, strict=True) if part is not None}

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
        towers = self._towers()
        base = describe_towers(towers)
        collected: dict[str, dict[str, list[Change]]] = {}
        for lora in loras:
            file = usable(lora, self._families)
            tensors = tensors_of(file, lora.adapter)
            for module, entry in fit(file, base).placed:
                multiplier = lora.scale_of(module.tower)
                if not multiplier:
                    continue
                model = towers[module.tower]
                tower = collected.setdefault(module.tower, {})
                for path, change in _changes(
                    module, tensors[module.name], entry, multiplier, model
                ):
                    tower.setdefault(path, []).append(change)
        return {
            tower: {
                path: _layer(towers[tower].get_submodule(path), all_of_it)
                for path, all_of_it in by_path.items()
            }
            for tower, by_path in collected.items()
        }


def _repeated(loras: Sequence[tuple[Lora, LoraFile]]) -> Iterator[str]:
    """Yield warnings of LoRAs given by several paths, which the hash of their weights shows."""
    paths: dict[tuple[str, str | None], dict[str, None]] = {}
    for lora, file in loras:
        paths.setdefault((file.weights_sha256, lora.adapter), {})[lora.path] = None
    for same in paths.values():
        if len(same) > 1:
            yield f"{' and '.join(same)} have the same weights: the LoRA acts {len(same)} times"


def _idle_parts(lora: Lora, file: LoraFile) -> Iterator[str]:
    """Yield warnings of scales by part for parts that a LoRA does not change."""
    changed = {module.tower for module in file.modules}
    parts = [part for part, _ in lora.parts]
    encoders = [part for part in parts if part != TOWERS[0]]
    for names in (encoders, [part for part in parts if part == TOWERS[0]]):
        if names and changed.isdisjoint(names):
            yield f"{file.path} changes no {' and no '.join(names)}: their scale has no effect"


_CHANGEABLE = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


def describe_towers(towers: Mapping[str, nn.Module]) -> Base:
    """Return the weights that a LoRA can change; their shapes only."""
    return describe_base(
        Path(),
        {
            tower: {
                path: tuple(module.weight.shape)
                for path, module in model.named_modules()
                if isinstance(module, _CHANGEABLE) and module.weight is not None
            }
            for tower, model in towers.items()
        },
    )


def _changes(
    module: Module,
    parts: Mapping[str, Stored],
    entry: BaseWeight,
    multiplier: float,
    model: nn.Module,
) -> Iterator[tuple[str, Change]]:
    """Yield the change of each weight; query, key and value may be one module in the file."""
    strength = Strength(module.scale, multiplier)
    rows = [stored.info.shape[0] for stored in entry.weight]
    is_matrix = len(entry.weight[0].info.shape) > 1  # not a norm's vector
    if is_matrix and not is_written_out(module.kind, parts):
        down, up = (torch.from_numpy(parts[role].read()) for role in ("down", "up"))
        pieces = _in_order(up.flatten(1), entry).split(rows)
        for path, piece in zip(entry.paths, pieces, strict=True):
            yield path, Factors(down, piece, module.scale * multiplier)
        weight = None
    else:
        base = _base_weight(model, entry)
        weight = weight_delta(module.kind, parts, strength, base.numpy())
    bias = bias_delta(parts, strength, _base_bias(model, entry))
    if weight is None and bias is None:
        return
    weights, biases = (_pieces(values, entry, rows) for values in (weight, bias))
    for path, weight_part, bias_part in zip(entry.paths, weights, biases, strict=True):
        yield path, Written(weight_part, bias_part)


def _base_weight(model: nn.Module, entry: BaseWeight) -> Tensor:
    """Return the weight that is changed, as the file of the LoRA has its rows; float64."""
    weights = [cast("Tensor", model.get_submodule(path).weight) for path in entry.paths]
    rows = [_exact(weight).reshape(len(weight), -1) for weight in weights]
    return _in_order(torch.cat(rows), entry)


def _base_bias(model: nn.Module, entry: BaseWeight) -> Values | None:
    """Return the bias beside the weight that is changed, in the same order; None without one."""
    biases = [getattr(model.get_submodule(path), "bias", None) for path in entry.paths]
    present = [_exact(bias) for bias in biases if bias is not None]
    if len(present) < len(biases):
        return None
    values: Values = _in_order(torch.cat(present), entry).numpy()
    return values


def _exact(parameter: Tensor) -> Tensor:
    """Return a parameter's numbers in float64, in main memory."""
    _require_here(parameter)
    return parameter.detach().cpu().double()


def _require_here(parameter: Tensor) -> None:
    """Refuse a parameter whose numbers come when its layer runs.

    Raises:
        CaptureError: with the call that undoes it.
    """
    if parameter.is_meta:
        raise CaptureError(
            "LoRAs cannot be put into a model that is offloaded layer by layer; call "
            "pipe.remove_all_hooks(), or use --offload model"
        )


def _in_order(rows: Tensor, entry: BaseWeight) -> Tensor:
    """Exchange the halves of rows where the other layout has them so; done twice it is undone."""
    return torch.cat(rows.chunk(2)[::-1]) if entry.is_swapped else rows


def _pieces(values: Values | None, entry: BaseWeight, rows: list[int]) -> Sequence[Tensor | None]:
    """Return the part of each weight, in the model's order of rows."""
    if values is None:
        return [None] * len(rows)
    pieces: Sequence[Tensor] = _in_order(torch.from_numpy(values), entry).split(rows)
    return pieces


def _layer(module: Any, stack: Sequence[Change]) -> nn.Module:
    """Return a layer that computes what a module does with changes, in the order of the stack.

    Args:
        module: linear, a convolution of two dimensions, or a norm; it stays as it is.
        stack: at least one change.

    Raises:
        CaptureError: the module's weight is elsewhere.
    """
    _require_here(module.weight)
    written = [change for change in stack if isinstance(change, Written)]
    factors = [change for change in stack if isinstance(change, Factors)]
    changed = _with_written(module, written) if written else module
    return _beside(changed, factors) if factors else changed


def _with_written(module: Any, stack: Sequence[Written]) -> Any:
    """Return a copy of a module with other numbers; what does not change is shared with it."""
    twin = copy(module)
    twin._parameters = dict(module._parameters)
    weights = [change.weight for change in stack if change.weight is not None]
    biases = [change.bias for change in stack if change.bias is not None]
    original = module.weight.detach()
    if weights:
        total = torch.stack(weights).sum(0).reshape(original.shape)
        twin.weight = _frozen(_exact(original) + total, original)
    if biases:
        before = 0 if module.bias is None else _exact(module.bias)
        twin.bias = _frozen(before + torch.stack(biases).sum(0), original)
    return twin


def _beside(module: Any, stack: Sequence[Factors]) -> nn.Module:
    """Return peft's layer around a module, which adds products of factors to what it computes."""
    from peft import LoraConfig
    from peft.tuners.lora import Conv2d, Linear

    weight = module.weight
    config = LoraConfig(init_lora_weights=False, inference_mode=True)
    names = [str(index) for index in range(len(stack))]
    ranks = [len(factors.down) for factors in stack]
    make = Conv2d if isinstance(module, nn.Conv2d) else Linear
    layer: Any
    with Unfilled():
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
    modules = {path: model.get_submodule(path) for path in layers}
    try:
        for path, layer in layers.items():
            model.set_submodule(path, layer)
        yield
    finally:
        for path, module in modules.items():
            model.set_submodule(path, module)
