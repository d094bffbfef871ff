"""LoRAs as people type them: one file, several that are added up, a sweep over scales."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from attn.demo.shipped import lora_file
from attn.errors import UsageError
from attn.schema import Lora
from attn.verbs.arguments import number, text
from attn.verbs.folders import short_names

Spec = str | Path | tuple[str | Path, float]
"""`FILE`, `FILE:SCALE`, `FILE:SCALE,SCALE`, several of these joined by `+`, FILE being a path or
`demo` or `demo:sd35` for a demo model's own LoRA; a path, which is taken as it is; or a path and a
scale."""

ENDING = ".safetensors"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SCALED = re.compile(rf"(.+):({_NUMBER}(?:,{_NUMBER})*)", re.DOTALL)


@dataclass(frozen=True)
class Variant:
    """LoRAs that are added up, in an order that does not depend on that of typing; none is a base.

    `label` names them as shortly as it can beside the other variants, like `style:0.8+eyes`.
    """

    label: str
    loras: tuple[Lora, ...]


def parse_stack(specs: Spec | Sequence[Spec] | None) -> tuple[Lora, ...]:
    """Read LoRAs that are all added up.

    Raises:
        UsageError: not such a list, a file twice, or several scales for one file.
    """
    found = [_expand(spec) for spec in _listed(specs)]
    swept = next((variants for variants in found if len(variants) > 1), None)
    if swept is not None:
        raise UsageError(
            f"lora: one scale for each file; got {len(swept)} for {swept[0][0].path} (a sweep over "
            "scales is a comparison: attn compare --lora)"
        )
    return _stacked(lora for variants in found for stack in variants for lora in stack)


def parse_variants(specs: Spec | Sequence[Spec] | None) -> tuple[Variant, ...]:
    """Read LoRAs of which each stack and each scale of a sweep is compared.

    Raises:
        UsageError: not such a list, or a variant twice.
    """
    stacks = [_stacked(stack) for spec in _listed(specs) for stack in _expand(spec)]
    labels = _labels(stacks)
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"lora: '{twice}' is given twice; leave one out")
    return tuple(map(Variant, labels, stacks))


def _listed(specs: Any) -> tuple[Any, ...]:
    """Return one LoRA or several as several."""
    match specs:
        case None:
            return ()
        case str() | Path() | (str() | Path(), int() | float()):
            return (specs,)
        case Sequence():
            return tuple(specs)
        case _:
            raise UsageError(f"lora: expected FILE or FILE:SCALE, or several; got {specs!r}")


def _expand(spec: Any) -> list[tuple[Lora, ...]]:
    """Return the stacks that one text means: with several scales, each combination of them."""
    match spec:
        case Path():
            return [(Lora(text("lora", str(spec))),)]
        case (str() | Path() as path, scale):
            return [(Lora(text("lora", str(path)), _finite(number("lora", scale))),)]
    pieces = [_scales(piece) for piece in _pieces(text("lora", spec))]
    return list(product(*pieces))


def _pieces(spec: str) -> Iterator[str]:
    """Cut a text at each `+` that follows a whole `FILE.safetensors`, a demo's LoRA or a scale."""
    begun: list[str] = []
    for piece in spec.split("+"):
        begun.append(piece)
        whole = "+".join(begun)
        is_file = whole.lower().endswith(ENDING) or lora_file(whole) != whole
        if is_file or _SCALED.fullmatch(whole):
            yield whole
            begun = []
    if begun:
        yield "+".join(begun)


def _scales(piece: str) -> list[Lora]:
    """Return a file with each of its scales; the last colon counts only before a number."""
    scaled = _SCALED.fullmatch(piece)
    path, scales = scaled.groups() if scaled else (piece, "1")
    if not path.strip():
        raise UsageError("lora: expected FILE or FILE:SCALE; got nothing for the file")
    file, _, rest = path.rpartition(":")
    if Path(file).is_file() and not Path(path).exists():
        raise UsageError(f"lora: expected FILE:SCALE or FILE:SCALE,SCALE; got '{rest}' for a scale")
    found = str(Path(lora_file(path)))
    return [Lora(found, _finite(float(scale))) for scale in scales.split(",")]


def _finite(scale: float) -> float:
    if not math.isfinite(scale):
        raise UsageError(f"lora: a scale must be finite; got {scale}")
    return scale


def _stacked(loras: Iterator[Lora] | Sequence[Lora]) -> tuple[Lora, ...]:
    stack = sorted(loras, key=lambda lora: (lora.path, lora.scale))
    paths = [Path(lora.path) for lora in stack]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"lora: {twice} is added to itself; give it once, with the sum as scale")
    return tuple(stack)


def _labels(stacks: Sequence[tuple[Lora, ...]]) -> list[str]:
    """Return readable names; those of scales only for files that have others than 1."""
    paths = sorted({lora.path for stack in stacks for lora in stack})
    names = short_names({path: path.removesuffix(ENDING) for path in paths})
    scaled = {lora.path for stack in stacks for lora in stack if lora.scale != 1}
    return [
        "+".join(
            f"{names[lora.path]}:{_shown(lora.scale)}" if lora.path in scaled else names[lora.path]
            for lora in stack
        )
        for stack in stacks
    ]


def _shown(scale: float) -> str:
    """Return a scale in the fewest digits that tell it from others."""
    short = f"{scale:g}"
    return short if float(short) == scale else repr(scale)
