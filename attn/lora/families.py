"""Which model family a LoRA was made for, from the paths and shapes of the modules it changes.

Structure decides, so that small models with the structure of a published one count as its family;
what the trainer wrote decides only where the modules do not. What tells a family stands with it, in
`attn.checkpoints.families`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attn.checkpoints.families import lora_kinds
from attn.checkpoints.lora_kinds import (
    Changes,
    LoraFamily,
    LoraKind,
    Signs,
    matches,
    transformer_kind,
)
from attn.checkpoints.other_loras import OTHER_KINDS
from attn.lora.names import DENOISER, underscored


@dataclass(frozen=True)
class Target:
    """What is known of a module before its numbers are read.

    `name` is what the names of its tensors have in common, `shape` that of the change, None where
    only the base weight has one.
    """

    name: str
    tower: str
    path: str
    shape: tuple[int, ...] | None


UNKNOWN = LoraFamily(None, "unknown")
_SECOND_ONLY = LoraFamily(
    None,
    "ambiguous: of each transformer block only the second attention is changed",
    (
        "attn2 is image self-attention in Stable Diffusion 3.5 medium",
        "attn2 is cross-attention to the text in PixArt and others",
    ),
)
_SOME_UNET = "unknown, with the blocks of a UNet"
_FIELDS = ("modelspec.architecture", "ss_base_model_version")


def recognise(targets: Iterable[Target], metadata: Mapping[str, Any]) -> LoraFamily:
    """Recognise the family of a LoRA, with the evidence.

    Args:
        targets: every module it changes.
        metadata: decoded; see `attn.lora.metadata`.
    """
    everything = list(targets)
    denoiser = {
        underscored(target.path): target.shape for target in everything if target.tower == DENOISER
    }
    towers = {target.tower for target in everything}
    family = (
        transformer_kind(denoiser, _kinds())
        or _second_only(denoiser)
        or _unet(denoiser, towers)
        or _encoders(everything, towers)
    )
    said = claimed(metadata)
    if family is None or family.name is None:
        return said or _guess(denoiser, family) or UNKNOWN
    if said and said.name == family.name:
        return replace(family, evidence=family.evidence + said.evidence)
    return family


def claimed(metadata: Mapping[str, Any]) -> LoraFamily | None:
    """Return the family that the trainer wrote into the file, if it is a known one."""
    for name in _FIELDS:
        text = str(metadata.get(name, "")).lower()
        for kind in _kinds():
            if kind.claims and re.match(kind.claims, text):
                return kind.family(f"{name} says {text[:60]!r}")
    return None


def attends_jointly(family: LoraFamily) -> bool | None:
    """Whether text and image attend jointly; None if the LoRA leaves that open."""
    if family.title == _SECOND_ONLY.title:
        return None
    return any(kind.is_joint for kind in _kinds() if kind.name == family.name)


def _kinds() -> tuple[LoraKind, ...]:
    return (*OTHER_KINDS, *lora_kinds().values())


def _second_only(denoiser: Changes) -> LoraFamily | None:
    """Say of a transformer of which only `attn2` is changed that it may be of two kinds."""
    paths = [path for path in denoiser if re.match(r"transformer_blocks_\d+_", path)]
    marks = r"_attn1_|_attn_(?:to_|add_)|_ff_context_|_norm1_(?:context_)?linear"
    is_second = any("_attn2_to_" in path for path in paths)
    return _SECOND_ONLY if is_second and not any(re.search(marks, path) for path in paths) else None


def _unet(denoiser: Changes, towers: set[str]) -> LoraFamily | None:
    """Recognise UNets by the width of their context, or else by what only one kind has."""
    if not matches(denoiser, r"(?:(?:input|output|down|up)_blocks_\d+|mid(?:dle)?_block)_"):
        return None
    width = _context_width(denoiser)
    reads = () if width is None else (f"cross-attention reads {width} channels",)
    signs = {kind: _signs([*denoiser, *towers], kind.signs) for kind in _kinds()}
    for kind, told in signs.items():
        if width is not None and kind.context == width:
            return kind.family(*reads, *told, is_certain=True)
    for kind, told in signs.items():
        if told:
            return kind.family(*told, *reads)
    return LoraFamily(None, _SOME_UNET, reads)


def _guess(denoiser: Changes, family: LoraFamily | None) -> LoraFamily | None:
    """Tell small UNets apart by signs that are certain for the published ones only."""
    if family is None or family.title != _SOME_UNET:
        return family
    for kind in _kinds():
        if signs := _signs(denoiser, kind.guesses):
            return kind.family(*signs, *family.evidence)
    return family


def _signs(paths: Iterable[str], signs: Signs) -> tuple[str, ...]:
    """Return the meanings of those patterns that match a path."""
    paths = list(paths)
    return tuple(why for pattern, why in signs if matches(paths, pattern))


def _context_width(denoiser: Changes) -> int | None:
    for path, shape in denoiser.items():
        if shape and len(shape) > 1 and re.search(r"_attn2_to_[kv]\Z", path):
            return shape[1]
    return None


def _encoders(targets: Sequence[Target], towers: set[str]) -> LoraFamily | None:
    """Recognise by text encoders alone, where they say enough.

    Of models with one text encoder kohya's names call it `te`, not `te1`.
    """
    if DENOISER in towers:
        return None
    for kind in _kinds():
        if kind.tower and kind.tower[0] in towers:
            return kind.family(kind.tower[1])
    if "text_encoder_2" in towers:
        return LoraFamily(None, "unknown, with the text encoders of SDXL and SD3")
    alone = [
        target for target in targets if re.match(r"lora_te_.*_self_attn_[qkv]_proj\Z", target.name)
    ]
    widths = [target.shape[-1] for target in alone if target.shape]
    for width in widths:
        for kind in _kinds():
            if kind.encoder == width:
                return kind.family(f"its only text encoder is {width} wide")
    return LoraFamily(None, "unknown, with a text encoder only")
