"""Parts of a LoRA by the names of modules: `up.2`, `mid`, `text_encoder`, `*attn2*`, `!down.1`.

A pattern is a part of the model (`unet`, `te`, `te1`, …), a path or glob of paths, or both
(`te1.layers.3`). It stands for everything within what it names. Dots and underscores are alike, and
so are capitals; `up`, `down`, `mid`, `attn`, `resnet` and `block` may stand for diffusers'
`up_blocks`, …, `transformer_blocks`, and `in04`, `out05` for LDM's blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from attn.errors import ModelError
from attn.lora.file import LoraFile, Module
from attn.lora.names import DENOISER, TOWERS, underscored
from attn.wording import list_some

_TOWER_NAMES = {
    **{tower: (tower,) for tower in TOWERS},
    "unet": (DENOISER,),
    "transformer": (DENOISER,),
    "te": TOWERS[1:],
    **{f"te{number}": (tower,) for number, tower in enumerate(TOWERS[1:], 1)},
}
_SHORT = (
    (r"\b(up|down|mid)_blocks?\b", r"\1"),
    (r"\battentions\b", "attn"),
    (r"\bresnets\b", "resnet"),
    (r"\b(?:joint|transformer)_blocks\b", "block"),
    (r"\btext_model\.encoder\.layers\b", "layers"),
    (r"\bencoder\.layers\b", "layers"),
)
_INSIDE = "attn|resnet|downsamplers|upsamplers"
_LDM = re.compile(r"(input|middle|output)_block(?:s_(\d{1,6}))?(?=_|\Z)")
NAMED = 12
"""So many blocks are named where a pattern matches nothing."""

Names = tuple[str, tuple[str, ...]]
"""A module's tower, and its paths in every layout that is known, the model's own first."""


def selected(patterns: Sequence[str], modules: Mapping[str, Names], where: str) -> set[str]:
    """Return the keys of the modules that patterns leave.

    Args:
        patterns: those with `!` in front take away, from what the others choose or from all.
        modules: what can be chosen, by any key.
        where: the file, for the message.

    Raises:
        ModelError: a pattern matches nothing, or nothing is left.
    """
    chosen, taken = set(modules), set[str]()
    positive = [pattern for pattern in patterns if not pattern.startswith("!")]
    if positive:
        chosen = set().union(*(_matching(pattern, modules, where) for pattern in positive))
    for pattern in patterns:
        if pattern.startswith("!"):
            taken |= _matching(pattern[1:], modules, where)
    if not chosen - taken:
        raise ModelError(f"{where}: {', '.join(patterns)} leaves no module of the LoRA")
    return chosen - taken


def restricted(lora: LoraFile, patterns: Sequence[str]) -> LoraFile:
    """Return a file with the modules that patterns leave, and the norms of these.

    Without a model, the numbers of LDM's blocks are taken for those of Stable Diffusion and SDXL.

    Raises:
        ModelError: a pattern matches nothing.
    """
    if not patterns:
        return lora
    names = {module.name: (module.tower, _paths(module)) for module in lora.modules}
    left = selected(patterns, names, str(lora.path))
    modules = tuple(module for module in lora.modules if module.name in left)
    return replace(lora, modules=modules, selection=tuple(patterns))


def _paths(module: Module) -> tuple[str, ...]:
    if module.base_path:
        return (*module.base_path.split(" + "), module.path)
    return (*_of_published(underscored(module.path)), module.path)


def _of_published(path: str) -> Iterator[str]:
    """Yield the name in diffusers of a block in LDM's layout, of three places to a level."""
    if middle := re.match(r"middle_block_([012])(?=_|\Z)", path):
        inside = ("resnets_0", "attentions_0", "resnets_1")[int(middle[1])]
        yield f"mid_block_{inside}{path[middle.end() :]}"
    match = re.match(r"(input|output)_blocks_(\d{1,6})_([01])(?=_|\Z)", path)
    if match is None or match[0] == "input_blocks_0_0":
        return
    side, number = match[1], int(match[2]) - (match[1] == "input")
    level, place = divmod(number, 3)
    block = {"input": "down_blocks", "output": "up_blocks"}[side]
    inside = ("resnets", "attentions")[int(match[3])]
    yield f"{block}_{level}_{inside}_{place}{path[match.end() :]}"


def block_names(lora: LoraFile) -> tuple[str, ...]:
    """Return the blocks of a LoRA, each as a pattern for all that it changes there, in order."""
    return tuple(dict.fromkeys(block_name((m.tower, _paths(m))) for m in lora.modules))


def block_name(names: Names) -> str:
    """Return the block of a module as people type it: `up.1.attn.0`, `mid.attn.0`, `te1.layers.3`.

    A path in kohya's spelling, which has no dots, counts as far as it can be told.
    """
    tower, (path, *_) = names
    is_kohya = "." not in path
    short = _short_of_kohya(path).replace("_", ".") if is_kohya else _shortened(path)
    match = re.match(rf"(?:up|down|mid)(?:\.\d+)?(?:\.(?:{_INSIDE})\.\d+)?|[a-z]+\.\d+", short)
    block = match[0] if match else short.partition(".")[0]
    return block if tower == DENOISER else f"te{TOWERS.index(tower)}.{block}"


def _matching(pattern: str, modules: Mapping[str, Names], where: str) -> set[str]:
    """Return the keys of the modules within what a pattern names.

    Raises:
        ModelError: there is none; with the nearest names.
    """
    towers, rest = _apart(pattern)
    keys = {
        key
        for key, (tower, paths) in modules.items()
        if tower in towers and (not rest or any(_is_within(rest, path) for path in paths))
    }
    if not keys:
        raise ModelError(
            f"{where}: no module of the LoRA matches '{pattern}'; {_near(pattern, modules)}"
        )
    return keys


def _apart(pattern: str) -> tuple[tuple[str, ...], str]:
    """Return the towers that a pattern is of, and its path, underscored and short."""
    head, _, rest = pattern.lower().partition(".")
    if head in _TOWER_NAMES:
        return _TOWER_NAMES[head], underscored(_shortened(rest))
    return TOWERS, underscored(_shortened(pattern.lower()))


def _is_within(pattern: str, path: str) -> bool:
    """Whether a path, in any of its spellings, is what a pattern names or within it."""
    return any(
        fnmatchcase(spelling, pattern) or fnmatchcase(spelling, f"{pattern}_*")
        for spelling in _spellings(path)
    )


def _spellings(path: str) -> Iterable[str]:
    plain = underscored(path).lower()
    yield plain
    yield underscored(_shortened(path.lower()))
    yield _short_of_kohya(plain)
    if match := _LDM.match(plain):
        side = {"input": "in", "middle": "mid", "output": "out"}[match[1]]
        number = f"{int(match[2]):02d}" if match[2] else ""
        yield f"{side}{number}{plain[match.end() :]}"


def _shortened(path: str) -> str:
    for pattern, short in _SHORT:
        path = re.sub(pattern, short, path)
    return path


def _short_of_kohya(plain: str) -> str:
    """Return the short form of a path whose dots are underscores already."""
    plain = re.sub(r"\A(up|down|mid)_blocks?_", r"\1_", plain)
    plain = re.sub(r"_attentions_(?=\d)", "_attn_", plain)
    plain = re.sub(r"_resnets_(?=\d)", "_resnet_", plain)
    plain = re.sub(r"(\A|_)(?:joint|transformer)_blocks_(?=\d)", r"\1block_", plain)
    return re.sub(r"\A(?:text_model_)?encoder_layers_(?=\d)", "layers_", plain)


def _near(pattern: str, modules: Mapping[str, Names]) -> str:
    blocks = dict.fromkeys(block_name(names) for names in modules.values())
    wider = dict.fromkeys(".".join(name.split(".")[:2]) for name in blocks)
    near = get_close_matches(pattern.lower(), [*wider, *blocks], 3, 0.5)
    first = f"near it are {', '.join(near)}; " if near else ""
    return f"{first}it changes {list_some(wider, NAMED)}. Give one of these, or none for all"
