"""Which model family a LoRA was made for, from the paths and shapes of the modules it changes.

Structure decides, so that small models with the structure of a published one count as its family;
what the trainer wrote decides only where the modules do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attn.checkpoints.families import lora_kinds
from attn.checkpoints.family import LoraKind
from attn.lora.names import DENOISER, underscored


@dataclass(frozen=True)
class LoraFamily:
    """The family of base models that a LoRA belongs to.

    Attributes:
        name: of a kind that a family in `attn.checkpoints.families` declares, or of `OTHERS`; None
            where it cannot be told.
        title: its name for people.
        evidence: what says so, most telling first.
        is_certain: whether widths or names of modules say so that no other family has; else
            only a model can tell.
    """

    name: str | None
    title: str
    evidence: tuple[str, ...] = ()
    is_certain: bool = False


OTHERS = (
    LoraKind("flux2", "FLUX.2", claims="flux-?2", is_joint=True),
    LoraKind(
        "lumina2",
        "Lumina 2",
        is_joint=True,
        paths=(r"(?:layers|noise_refiner|context_refiner)_\d+_attention_qkv",),
        width=2304,
        evidence=("attention in layers is 2304 wide",),
    ),
    LoraKind(
        "auraflow",
        "AuraFlow",
        is_joint=True,
        paths=(r"joint_transformer_blocks_\d+_",),
        evidence=("blocks of two streams are called joint_transformer_blocks",),
        is_certain=True,
    ),
)
"""Kinds whose models no backend here opens."""


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
        _declared(denoiser)
        or _joint(denoiser)
        or _unet(denoiser, towers)
        or _encoders(everything, towers)
    )
    said = claimed(metadata)
    if family is None or family.name is None:
        return said or _guess(denoiser, family) or UNKNOWN
    if said and said.name == family.name:
        return replace(family, evidence=family.evidence + said.evidence)
    return family


Denoiser = Mapping[str, tuple[int, ...] | None]
"""Shapes of changes by underscored paths."""

_FLUX_WIDTH, _FLUX_DOUBLE, _FLUX_SINGLE = 3072, 19, 38
_SD3_WIDTHS = {2432: "large", 1536: "medium"}
_SECOND_ONLY = "ambiguous: of each transformer block only the second attention is changed"
_SECOND_MEANINGS = (
    "attn2 is image self-attention in Stable Diffusion 3.5 medium",
    "attn2 is cross-attention to the text in PixArt and others",
)


def attends_jointly(family: LoraFamily) -> bool | None:
    """Whether text and image attend jointly; None if the LoRA leaves that open."""
    if family.title == _SECOND_ONLY:
        return None
    return any(kind.is_joint for kind in _kinds() if kind.name == family.name)


def _kinds() -> list[LoraKind]:
    """Return every kind, those that a width tells first."""
    return sorted((*lora_kinds().values(), *OTHERS), key=lambda kind: kind.width is None)


def _declared(denoiser: Denoiser) -> LoraFamily | None:
    """Recognise a kind that the paths of its modules tell, and maybe the width of its attention."""
    for kind in _kinds():
        is_there = kind.paths and all(
            any(re.match(pattern, path) for path in denoiser) for pattern in kind.paths
        )
        if is_there and kind.width in (None, _width(denoiser)):
            return LoraFamily(kind.name, kind.title, kind.evidence, kind.is_certain)
    return None


def _joint(denoiser: Denoiser) -> LoraFamily | None:
    """Recognise transformers in which text and picture attend jointly."""
    if any(re.match(r"joint_blocks_\d+_", path) for path in denoiser):
        return _sd3(denoiser, "blocks are called joint_blocks")
    if any(re.match(r"(?:single_transformer|double|single)_blocks_\d+_", p) for p in denoiser):
        return _flux(denoiser)
    plain = [path for path in denoiser if re.match(r"transformer_blocks_\d+_", path)]
    if not plain or any(re.search(r"_attn1_", path) for path in plain):
        return None
    return _transformer(denoiser, plain)


def _transformer(denoiser: Denoiser, paths: Sequence[str]) -> LoraFamily | None:
    """Tell apart transformers whose blocks have diffusers' names, which several families share."""
    marks = r"_attn_(?:to_|add_)|_ff_context_|_norm1_(?:context_)?linear"
    if not any(re.search(marks, path) for path in paths):
        is_second = any(re.search(r"_attn2_to_", path) for path in paths)
        return LoraFamily(None, _SECOND_ONLY, _SECOND_MEANINGS) if is_second else None
    if _width(denoiser) == _FLUX_WIDTH:
        is_flux = _most(denoiser, r"transformer_blocks_(\d{1,6})_") < _FLUX_DOUBLE
        return _flux(denoiser) if is_flux else None
    return _sd3(denoiser, "blocks of joint attention are called transformer_blocks")


def _sd3(denoiser: Denoiser, naming: str) -> LoraFamily:
    width = _width(denoiser)
    size = _SD3_WIDTHS.get(width or 0)
    second = any(re.search(r"_attn2_", path) for path in denoiser)
    evidence = [naming]
    if width:
        remark = "" if size else ", which no published model has"
        evidence.append(f"joint attention is {width} wide{remark}")
    if second:
        evidence.append("blocks have a second attention, as in 3.5 medium")
    title = {"large": "3.5 large", "medium": "3.5 medium" if second else "3 or 3.5 medium"}
    return LoraFamily(
        "sd35", f"Stable Diffusion {title.get(size or '', '3.x')}", tuple(evidence), is_certain=True
    )


_FLUX2_NAMES = r"(?:double|single)_stream_modulation|.*_to_qkv_mlp_proj\Z|.*_ff_linear_in\Z"
_FLUX2_WIDTHS = (4096, 6144)
_FLUX2_SHAPES = ((r"single_blocks_\d+_linear1\Z", 9), (r"double_blocks_\d+_\w+_mlp_0\Z", 6))
"""Modules whose rows are so many times their columns; in FLUX.1 7 and 4 times."""


def _is_flux2(denoiser: Denoiser) -> str | None:
    """Return what says that blocks of two and of one stream are those of FLUX.2, if anything."""
    if any(re.match(_FLUX2_NAMES, path) for path in denoiser):
        return "query, key, value and feed-forward are one module, or blocks share a modulation"
    for path, shape in denoiser.items():
        for pattern, times in _FLUX2_SHAPES:
            if shape and re.match(pattern, path) and shape[0] == times * shape[1]:
                return f"{path} has {times} times as many rows as columns"
    width = _width(denoiser)
    return f"attention is {width} wide" if width in _FLUX2_WIDTHS else None


def _flux(denoiser: Denoiser) -> LoraFamily:
    if sign := _is_flux2(denoiser):
        return LoraFamily("flux2", "FLUX.2", (sign,), is_certain=True)
    double = _most(denoiser, r"(?:double|transformer)_blocks_(\d{1,6})_")
    single = _most(denoiser, r"single_(?:transformer_)?blocks_(\d{1,6})_")
    evidence = (f"blocks of two streams up to {double}, of one up to {single}",)
    if double >= _FLUX_DOUBLE or single >= _FLUX_SINGLE:
        return LoraFamily(None, "unknown, with blocks as in FLUX.1 but more of them", evidence)
    return LoraFamily("flux", "FLUX.1", evidence, is_certain=True)


def _width(denoiser: Denoiser) -> int | None:
    """Return the number of channels that the attention of a transformer reads."""
    reading = (
        r"_(?:attn2?_to_[qkv]|attn_add_[qkv]_proj|(?:x|context)_block_attn2?_qkv"
        r"|(?:img|txt)_attn_qkv|attention_(?:to_[qkv]|qkv))\Z"
    )
    for path, shape in denoiser.items():
        if shape and len(shape) > 1 and re.search(reading, path):
            return shape[1]
    return None


def _most(denoiser: Denoiser, pattern: str) -> int:
    """Return the largest number of a block; -1 if there is none."""
    matches = (re.match(pattern, path) for path in denoiser)
    return max((int(match[1]) for match in matches if match), default=-1)


_CROSS = {
    768: ("sd15", "Stable Diffusion 1.x"),
    1024: ("sd2", "Stable Diffusion 2.x"),
    2048: ("sdxl", "Stable Diffusion XL"),
    1280: (None, "Stable Diffusion XL refiner"),
}
"""By the channels that cross-attention reads: the width of the text encoders."""

_XL = (
    (r"(?:label_emb|add_embedding)_", "the picture's size is an input"),
    (r".*_transformer_blocks_[1-9]", "several transformer blocks at one place"),
)
_FIRST = (
    (r"(?:down_blocks_0_attentions|input_blocks_[12]_1)_", "attention on the first grid"),
    (r"(?:up_blocks_3_attentions|output_blocks_(?:9|10|11)_1)_", "twelve output blocks"),
)
"""What only SDXL has, and what it does not have: paths, and what they mean."""

_SOME_UNET = "unknown, with the blocks of a UNet"
_SDXL = LoraFamily("sdxl", "Stable Diffusion XL")
_SD15 = LoraFamily("sd15", "Stable Diffusion 1.x")


def _unet(denoiser: Denoiser, towers: set[str]) -> LoraFamily | None:
    """Recognise UNets by the width of their context, or else by what only SDXL has."""
    ours = r"(?:(?:input|output|down|up)_blocks_\d+|mid(?:dle)?_block)_"
    if not any(re.match(ours, path) for path in denoiser):
        return None
    width = _cross_width(denoiser)
    reads = () if width is None else (f"cross-attention reads {width} channels",)
    signs = _signs(denoiser, _XL)
    if "text_encoder_2" in towers:
        signs += ("two text encoders",)
    if width in _CROSS:
        name, title = _CROSS[width]
        signs = signs if name == "sdxl" else ()
        return LoraFamily(name, title, reads + signs, is_certain=True)
    if signs:
        return LoraFamily(_SDXL.name, _SDXL.title, signs + reads)
    return LoraFamily(None, _SOME_UNET, reads)


def _guess(denoiser: Denoiser, family: LoraFamily | None) -> LoraFamily | None:
    """Tell small UNets apart by signs that are certain for the published ones only."""
    if family is None or family.title != _SOME_UNET:
        return family
    if signs := _signs(denoiser, _FIRST):
        return LoraFamily(_SD15.name, _SD15.title, signs + family.evidence)
    if any(path.startswith(("input_blocks_", "output_blocks_")) for path in denoiser):
        naming = "blocks named as sd-scripts names those of SDXL"
        return LoraFamily(_SDXL.name, _SDXL.title, (naming, *family.evidence))
    return family


def _signs(denoiser: Denoiser, patterns: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the meanings of those patterns that match a path."""
    return tuple(
        why for pattern, why in patterns if any(re.match(pattern, path) for path in denoiser)
    )


def _cross_width(denoiser: Denoiser) -> int | None:
    for path, shape in denoiser.items():
        if shape and len(shape) > 1 and re.search(r"_attn2_to_[kv]\Z", path):
            return shape[1]
    return None


_CLIP_WIDTHS = {768: _SD15, 1024: LoraFamily("sd2", "Stable Diffusion 2.x")}
"""Of models with one text encoder, which kohya's names call `te`, not `te1`."""


def _encoders(targets: Sequence[Target], towers: set[str]) -> LoraFamily | None:
    """Recognise by text encoders alone, where they say enough."""
    if DENOISER in towers:
        return None
    if "text_encoder_3" in towers:
        return LoraFamily("sd35", "Stable Diffusion 3.x", ("it changes a third text encoder",))
    if "text_encoder_2" in towers:
        return LoraFamily(None, "unknown, with the text encoders of SDXL and SD3")
    alone = [
        target for target in targets if re.match(r"lora_te_.*_self_attn_[qkv]_proj\Z", target.name)
    ]
    for shape in filter(None, (target.shape for target in alone)):
        if family := _CLIP_WIDTHS.get(shape[-1]):
            evidence = f"its only text encoder is {shape[-1]} wide"
            return LoraFamily(family.name, family.title, (evidence,))
    return LoraFamily(None, "unknown, with a text encoder only")


_FIELDS = ("modelspec.architecture", "ss_base_model_version")


def claimed(metadata: Mapping[str, Any]) -> LoraFamily | None:
    """Return the family that the trainer wrote into the file, if it is a known one."""
    for name in _FIELDS:
        text = str(metadata.get(name, "")).lower()
        for kind in _kinds():
            if kind.claims and re.match(kind.claims, text):
                return LoraFamily(kind.name, kind.title, (f"{name} says {text[:60]!r}",))
    return None
