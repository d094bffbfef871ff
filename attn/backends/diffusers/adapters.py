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
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from attn.backends.diffusers.adapter_layers import (
    Change,
    changes_of,
    make_layer,
    random_changes,
)
from attn.demo.shipped import other_lora
from attn.errors import CaptureError, ModelError, RequestError
from attn.lora.base.fit import fit, require_fit
from attn.lora.base.weights import Base, describe_base
from attn.lora.changes.deltas import Strength
from attn.lora.file import LoraFile
from attn.lora.names import TOWERS
from attn.lora.oddities import TOLD
from attn.lora.reader import tensors_of
from attn.lora.usable import completed, usable
from attn.schema import Lora

KEPT = 4
"""So many combinations of LoRAs stay ready to be put in; more would fill the memory."""

Layers = Mapping[str, Mapping[str, nn.Module]]
"""Peft's layers that are put in, by tower and path."""


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

    def __init__(
        self, pipe: Any, denoiser: str, families: Sequence[str], towers: Mapping[str, str]
    ) -> None:
        self._pipe = pipe
        self._denoiser = denoiser
        self._components = {name: name for name in TOWERS} | {TOWERS[0]: denoiser, **towers}
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
            fit(file, base, lora.modules)  # a pattern that matches nothing is refused here
            warnings += [f"{file.path}: {odd.message}" for odd in file.oddities if odd.kind in TOLD]
            warnings += _idle_parts(lora, file)
        return completed, tuple(warnings)

    def _towers(self) -> dict[str, nn.Module]:
        parts = {tower: getattr(self._pipe, name, None) for tower, name in self._components.items()}
        return {tower: part for tower, part in parts.items() if part is not None}

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
        if not loras:
            return {}
        towers = self._towers()
        base = describe_towers(towers)
        collected: dict[str, dict[str, list[Change]]] = {}
        for lora in loras:
            file = usable(lora, self._families)
            tensors = tensors_of(file, lora.adapter)
            for module, entry in fit(file, base, lora.modules).placed:
                multiplier = lora.scale_of(module.tower)
                if not multiplier:
                    continue
                model = towers[module.tower]
                tower = collected.setdefault(module.tower, {})
                strength = Strength(module.scale, multiplier)
                changes = changes_of(module, tensors[module.name], entry, strength, model)
                if lora.null is not None:
                    changes = random_changes(changes, module, lora.null)
                for path, change in changes:
                    tower.setdefault(path, []).append(change)
        return {
            tower: {
                path: make_layer(towers[tower].get_submodule(path), all_of_it)
                for path, all_of_it in by_path.items()
            }
            for tower, by_path in collected.items()
        }


def _repeated(loras: Sequence[tuple[Lora, LoraFile]]) -> Iterator[str]:
    """Yield warnings of LoRAs given by several paths, which the hash of their weights shows."""
    paths: dict[tuple[object, ...], dict[str, None]] = {}
    for lora, file in loras:
        what = (file.weights_sha256, lora.adapter, lora.modules, lora.null)
        paths.setdefault(what, {})[lora.path] = None
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
