"""Kinds of LoRAs: what tells from the modules that one changes for which models it was made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Changes = Mapping[str, tuple[int, ...] | None]
"""Shapes of the changes to a denoiser, by underscored paths."""
Signs = tuple[tuple[str, str], ...]
"""Patterns of paths, and what each means."""


@dataclass(frozen=True)
class LoraFamily:
    """The family of base models that a LoRA belongs to.

    Attributes:
        name: of one of `LoraKind`; None where it cannot be told.
        title: its name for people.
        evidence: what says so, most telling first.
        is_certain: whether widths or names of modules say so that no other family has; else
            only a model can tell.
    """

    name: str | None
    title: str
    evidence: tuple[str, ...] = ()
    is_certain: bool = False


@dataclass(frozen=True)
class LoraKind:
    """The LoRAs that are made for one kind of model, and what tells them from others.

    Of a transformer they are told by `paths` and `width`, or by `recognise`; of a UNet by
    `context`, `signs` and `guesses`; where structure says nothing, by `claims`.

    Attributes:
        name: as `attn lora` tells it; None of models that nothing is applied to.
        title: for people.
        claims: pattern of what trainers write into the metadata.
        is_joint: whether text and image attend jointly in these models.
        paths: patterns; each matches the path of a module of the denoiser.
        width: channels that attention reads, where other kinds have such paths too.
        evidence: what paths and width say, in words.
        is_certain: whether no other kind has them.
        recognise: returns what a LoRA is, if it is of this kind, or of one that looks like it.
        context: channels that the cross-attention of its UNet reads: the width of its encoders.
        signs: of UNets, paths and towers that only this kind has.
        guesses: of UNets, paths by which small ones are told, which are certain of published ones.
        encoder: width of its text encoder, if it has one only.
        tower: a text encoder that only this kind has, and what that says.
    """

    name: str | None
    title: str
    claims: str | None = None
    is_joint: bool = False
    paths: tuple[str, ...] = ()
    width: int | None = None
    evidence: tuple[str, ...] = ()
    is_certain: bool = False
    recognise: Callable[[Changes], LoraFamily | None] | None = None
    context: int | None = None
    signs: Signs = ()
    guesses: Signs = ()
    encoder: int | None = None
    tower: tuple[str, str] | None = None

    def family(self, *evidence: str, is_certain: bool = False) -> LoraFamily:
        """Return what is said of a LoRA of this kind."""
        return LoraFamily(self.name, self.title, evidence, is_certain)


def transformer_kind(changes: Changes, kinds: Iterable[LoraKind]) -> LoraFamily | None:
    """Recognise a LoRA for a transformer, by paths of its own before by what several have."""
    kinds = sorted(kinds, key=lambda kind: kind.width is None)  # a width tells more than none
    for kind in kinds:
        is_there = kind.paths and all(matches(changes, pattern) for pattern in kind.paths)
        if is_there and kind.width in (None, attention_width(changes)):
            return kind.family(*kind.evidence, is_certain=kind.is_certain)
    families = (kind.recognise(changes) for kind in kinds if kind.recognise)
    return next(filter(None, families), None)


def matches(paths: Iterable[str], pattern: str) -> bool:
    """Whether any path begins with a pattern."""
    return any(re.match(pattern, path) for path in paths)


def attention_width(changes: Changes) -> int | None:
    """Return the number of channels that the attention of a transformer reads."""
    reading = (
        r"_(?:attn2?_to_[qkv]|attn_add_[qkv]_proj|(?:x|context)_block_attn2?_qkv"
        r"|(?:img|txt)_attn_qkv|attention_(?:to_[qkv]|qkv))\Z"
    )
    for path, shape in changes.items():
        if shape and len(shape) > 1 and re.search(reading, path):
            return shape[1]
    return None


def joint_paths(changes: Changes) -> Sequence[str]:
    """Return paths in blocks with diffusers' names, which several families share.

    Only where something in them is of joint attention.
    """
    paths = [path for path in changes if re.match(r"transformer_blocks_\d+_", path)]
    marks = r"_attn_(?:to_|add_)|_ff_context_|_norm1_(?:context_)?linear"
    is_other = any(re.search(r"_attn1_", path) for path in paths)
    return paths if not is_other and any(re.search(marks, path) for path in paths) else ()


def largest_number(changes: Changes, pattern: str) -> int:
    """Return the largest number of a block; -1 if there is none."""
    numbers = (re.match(pattern, path) for path in changes)
    return max((int(match[1]) for match in numbers if match), default=-1)
