"""LoRAs as people type them: a file, scales by part, several added up, a sweep over scales."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from attn.demo.shipped import lora_file
from attn.errors import UsageError, did_you_mean
from attn.files.disk import is_folder, is_there
from attn.files.names import SAFETENSORS
from attn.schema import LORA_PARTS, Lora
from attn.verbs.capture.folders import short_names
from attn.verbs.checks import convert, seeds, text
from attn.verbs.lora_folders import lora_files
from attn.verbs.parsing import WHOLE

Strength = float | Mapping[str, float | str]
"""One scale, or scales by part as in `{"unet": 0.8, "te": 0.4}`, with the `adapter` if there are
several in the file."""
Spec = str | Path | Lora | tuple[str | Path, Strength]
"""`FILE`, `FILE:SCALE`, `FILE:SCALE,SCALE`, `FILE:PART=SCALE,…`, several of these joined by `+`,
FILE being a path or `demo` or `demo:FAMILY` for a demo model's own LoRA, or one of these with
`@MODULE,MODULE` behind it; a path, which is taken as it is; a path and its strength; or a LoRA that
was read from one of these. In a comparison FILE may be a folder of LoRAs or a glob of them."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SCALED = re.compile(rf"(.+):({_NUMBER}(?:,{_NUMBER})*)", re.DOTALL)
_NAMED = re.compile(r"(.+):(\w+=[^:/\\]*)", re.DOTALL)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")

_ENCODERS = tuple(part for part in LORA_PARTS if part != "denoiser")
_PARTS = {
    **{name: (part,) for part, name in LORA_PARTS.items()},
    **{part: (part,) for part in LORA_PARTS},
    "transformer": ("denoiser",),
    "te": _ENCODERS,
}
"""What parts of a model are called in a text, those of diffusers among them."""
_NAMES = ("unet", "te", "te1", "te2", "te3", "scale", "adapter", "modules", "null")
_TEXTS = ("adapter", "modules", "null")
"""Names that stand for no scale."""


@dataclass(frozen=True)
class LoraVariant:
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
    stacks = [_expand(spec) for spec in _listed(specs)]
    _refuse_several(lora for variants in stacks for stack in variants for lora in stack)
    swept = next((variants for variants in stacks if len(variants) > 1), None)
    if swept is not None:
        raise UsageError(
            f"lora: one scale for each file; got {len(swept)} for {swept[0][0].path} (a sweep over "
            "scales is a comparison: attn compare --lora)"
        )
    return _stacked(lora for variants in stacks for stack in variants for lora in stack)


def parse_variants(specs: Spec | Sequence[Spec] | None) -> tuple[LoraVariant, ...]:
    """Read LoRAs of which each stack and each scale of a sweep is compared.

    Raises:
        UsageError: not such a list, or a variant twice.
    """
    expanded = [stack for spec in _listed(specs) for stack in _without_zero(_expand(spec))]
    return name_variants([_stacked(stack) for variant in expanded for stack in _of_files(variant)])


def lone_scales(specs: Spec | Sequence[Spec] | None) -> list[str]:
    """Return the texts that name several scales of which one acts: there is no curve of it."""
    expanded = {str(spec): _expand(spec) for spec in _listed(specs)}
    several = {text: stacks for text, stacks in expanded.items() if len(stacks) > 1}
    return [text for text, stacks in several.items() if len(_without_zero(stacks)) == 1]


def tell_idle(loras: Sequence[Lora]) -> Iterator[str]:
    """Say of each LoRA that is nowhere multiplied by anything but 0 that it changes nothing."""
    for lora in loras:
        if not any(map(lora.scale_of, LORA_PARTS)):
            name = f"{Path(lora.path).name}{lora.selection}:{lora.strength}"
            yield f"{name} changes nothing at this scale; give another one, or leave it out"


def name_variants(stacks: Sequence[tuple[Lora, ...]]) -> tuple[LoraVariant, ...]:
    """Name stacks as shortly as tells them apart.

    Raises:
        UsageError: one comes twice.
    """
    labels = _labels(stacks)
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"lora: '{twice}' is given twice; leave one out")
    return tuple(map(LoraVariant, labels, stacks))


def _of_files(stack: tuple[Lora, ...]) -> Iterator[tuple[Lora, ...]]:
    """Yield a stack for each combination of the files that folders and globs in it stand for."""
    files = [[replace(lora, path=path) for path in lora_files(lora.path)] for lora in stack]
    return product(*files)


def _refuse_several(loras: Iterator[Lora]) -> None:
    """Refuse globs of several LoRAs, which are no single one; folders are refused when read."""
    for lora in loras:
        files = [] if is_folder(Path(lora.path)) else lora_files(lora.path)
        if len(files) > 1:
            raise UsageError(
                f"lora: {lora.path} stands for {len(files)} LoRAs ({Path(files[0]).name}, …); give "
                "one of them (each by itself is a comparison: attn compare --lora)"
            )


def _listed(specs: Any) -> tuple[Any, ...]:
    """Return one LoRA or several as several."""
    match specs:
        case None:
            return ()
        case str() | Path() | Lora() | (str() | Path(), int() | float() | Mapping()):
            return (specs,)
        case Sequence():
            return tuple(specs)
        case _:
            raise UsageError(f"lora: expected FILE or FILE:SCALE, or several; got {specs!r}")


def _expand(spec: Any) -> list[tuple[Lora, ...]]:
    """Return the stacks that one text means: with several scales, each combination of them."""
    match spec:
        case Lora():
            return [(spec,)]
        case Path():
            return [(Lora(text("lora", str(spec))),)]
        case (str() | Path() as path, Mapping() as parts):
            return [(_by_part(text("lora", str(path)), parts),)]
        case (str() | Path() as path, scale):
            return [(Lora(text("lora", str(path)), _finite(convert("lora", scale, float))),)]
    pieces = [_scales(piece) for piece in _pieces(text("lora", spec))]
    return list(product(*pieces))


def _without_zero(sweep: list[tuple[Lora, ...]]) -> list[tuple[Lora, ...]]:
    """Leave out of a sweep where nothing acts: that is the baseline, which is there anyway.

    A single stack stays, whatever its scales are.
    """
    acting = [stack for stack in sweep if any(any(lora.scales) for lora in stack)]
    return acting or sweep[:1]


def _pieces(spec: str) -> Iterator[str]:
    """Cut a text at each `+` that follows a whole file, folder, demo's LoRA or strength."""
    begun: list[str] = []
    for piece in spec.split("+"):
        begun.append(piece)
        whole = "+".join(begun)
        is_named = _NAMED.fullmatch(whole) and not whole.endswith("=")  # else a sign follows
        if _is_file(cut_modules(whole)[0]) or _SCALED.fullmatch(whole) or is_named:
            yield whole
            begun = []
    if begun:
        yield "+".join(begun)


def _is_file(whole: str) -> bool:
    """Whether a text is all of a file's name, a folder that is there, or a demo's LoRA."""
    is_named = whole.lower().endswith(SAFETENSORS) or lora_file(whole) != whole
    return is_named or (bool(whole.strip()) and is_folder(Path(whole)))


def _scales(piece: str) -> list[Lora]:
    """Return a file with each of its scales; the last colon counts only before a strength."""
    named = _NAMED.fullmatch(piece)
    if named and not is_there(Path(piece)):
        _require_single_strength(named[1], piece)
        path, modules = cut_modules(named[1])
        return [_restricted(_by_part(_path(path), _read_parts(named[2])), modules)]
    scaled = _SCALED.fullmatch(piece)
    path, scales = scaled.groups() if scaled else (piece, "1")
    _require_single_strength(path, piece)
    _refuse_decimal_comma(scales)
    path, modules = cut_modules(path)
    loras = [Lora(_path(path), _finite(float(scale))) for scale in scales.split(",")]
    return [_restricted(lora, modules) for lora in loras]


def cut_modules(piece: str) -> tuple[str, tuple[str, ...]]:
    """Return a file and the patterns of modules behind its last `@`, unless that is in its name."""
    path, _, rest = piece.rpartition("@")
    is_name = not path or not rest or re.search(r"[/\\]|\.safetensors\Z", rest, re.IGNORECASE)
    if is_name or is_there(Path(piece)):
        return piece, ()
    return path, patterns(rest)


def patterns(text: str) -> tuple[str, ...]:
    """Read `up.2,mid,!text_encoder`.

    Raises:
        UsageError: one is empty.
    """
    pieces = tuple(piece.strip() for piece in text.split(","))
    if not all(piece.removeprefix("!") for piece in pieces):
        raise UsageError(f"lora: expected FILE@MODULE,MODULE; got '@{text}'")
    return pieces


def _restricted(lora: Lora, modules: tuple[str, ...]) -> Lora:
    return replace(lora, modules=modules) if modules else lora


def _require_single_strength(path: str, piece: str) -> None:
    """Refuse a file with more than one strength: what is before the last colon must be a file."""
    file = path.rpartition(":")[0]
    if file and is_there(Path(file)) and not is_there(Path(path)):
        rest = piece.removeprefix(f"{file}:")
        raise UsageError(
            "lora: expected FILE:SCALE, FILE:SCALE,SCALE or FILE:PART=SCALE,PART=SCALE; got "
            f"'{rest}' for the scale"
        )


def _path(path: str) -> str:
    if not path.strip():
        raise UsageError("lora: expected FILE or FILE:SCALE; got nothing for the file")
    return str(Path(lora_file(path)))


def _refuse_decimal_comma(scales: str) -> None:
    """Refuse `0,8`, which some people write for 0.8; `0,1` is the sweep from nothing to all."""
    pair = _DECIMAL_COMMA.fullmatch(scales)
    if pair and scales != "0,1":
        whole, rest = pair.groups()
        raise UsageError(
            f"lora: '{scales}' is the scale {whole}.{rest} or the two scales {whole} and {rest}; "
            f"write {whole}.{rest}, or {whole}.0,{rest}.0"
        )


def _read_parts(strength: str) -> dict[str, float | str]:
    """Read `unet=0.8,te=0.4`, each name once."""
    pieces = strength.split(",")
    bare = next((piece for piece in pieces if "=" not in piece), None)
    if bare is not None:
        raise UsageError(
            f"lora: expected PART=SCALE,PART=SCALE; got '{bare}' in '{strength}' (decimals have a "
            "point; give each combination as a --lora of its own)"
        )
    pairs = [piece.partition("=")[::2] for piece in pieces]
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"lora: {twice} is given twice in '{strength}'")
    return {
        name: value if name in _TEXTS or not re.fullmatch(_NUMBER, value) else float(value)
        for name, value in pairs
    }


def _by_part(path: str, strength: Mapping[str, Any]) -> Lora:
    """Return a LoRA with scales by part: of two names for a part the narrower one counts."""
    unknown = next((name for name in strength if name not in {*_PARTS, *_NAMES}), None)
    if unknown is not None:
        raise UsageError(
            f"lora: no part is called {unknown!r}; the parts are {', '.join(_NAMES[:-4])}, beside "
            "scale for all others, adapter, modules and null."
            f"{did_you_mean(str(unknown), (*_PARTS, *_NAMES))}"
        )
    scales = {
        name: _finite(_part_scale(name, value))
        for name, value in strength.items()
        if name not in _TEXTS
    }
    widest_first = sorted(scales.keys() & _PARTS.keys(), key=lambda name: -len(_PARTS[name]))
    parts = {part: scales[name] for name in widest_first for part in _PARTS[name]}
    adapter, modules, null = (strength.get(name) for name in _TEXTS)
    return Lora(
        path,
        scales.get("scale", 1.0),
        parts=tuple(sorted(parts.items())),
        adapter=None if adapter is None else text("lora", adapter),
        modules=() if modules is None else patterns(text("lora", modules)),
        null=None if null is None else _seed(null),
    )


def _seed(value: Any) -> int:
    """Return the seed of random changes."""
    is_digits = isinstance(value, str) and re.fullmatch(WHOLE, value)
    (seed,) = seeds("null", int(value) if is_digits else convert("null", value, int))
    return seed


def _part_scale(name: str, value: Any) -> float:
    if isinstance(value, str):
        raise UsageError(f"lora: expected a number for {name}; got {value!r}")
    return float(convert("lora", value, float))


def _finite(scale: float) -> float:
    if not math.isfinite(scale):
        raise UsageError(f"lora: a scale must be finite; got {scale}")
    return scale


def _stacked(loras: Iterator[Lora] | Sequence[Lora]) -> tuple[Lora, ...]:
    stack = sorted(loras, key=lambda lora: (lora.path, lora.scale, lora.parts, lora.modules))
    keys = [(Path(lora.path), lora.adapter, lora.modules, lora.null) for lora in stack]
    twice = next((key[0] for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UsageError(f"lora: {twice} is added to itself; give it once, with the sum as scale")
    return tuple(stack)


def _labels(stacks: Sequence[tuple[Lora, ...]]) -> list[str]:
    """Return readable names; those of scales only for files that have others than 1."""
    paths = sorted({lora.path for stack in stacks for lora in stack})
    names = short_names({path: path.removesuffix(SAFETENSORS) for path in paths})
    loras = [replace(lora, null=None) for stack in stacks for lora in stack]
    scaled = {lora.path for lora in loras if lora.strength != "1"}

    def label(lora: Lora) -> str:
        name = names[lora.path] + lora.selection
        return f"{name}:{lora.strength}" if lora.path in scaled or lora.null is not None else name

    return ["+".join(map(label, stack)) for stack in stacks]
