"""Read what is to be cut: `red`, `sinks:3`, `head 4.2`, `layer up.*`, each with `@steps=0-9`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from attn.errors import UsageError, did_you_mean
from attn.schema import ROLES, SWAPS, WITH_AMOUNT, ActName, CutTarget, Intervention
from attn.verbs.parsing import WHOLE, finite_number

Spec = str | Intervention
EXAMPLE = "a word of the prompt, padding, sinks:3, 'head 4.2' or 'layer up.*'"
_ACTS: tuple[ActName, ...] = ("mask", "mean", "skip")
MOST_NUMBERS = 10_000
"""Heads or positions of one cut."""
SEGMENTS = ("sketch", "image", "text")
"""Segments that need not be called so."""
_RANGE = re.compile(rf"({WHOLE}(?:\.\d+)?)(?:-({WHOLE}(?:\.\d+)?))?")
_LIMITS = re.compile(r"(.+?)@([a-z_]+=.*|mean|skip|mask)", re.DOTALL)
_HEAD = re.compile(r"([^\s]+)\.(\d+(?:[-,]\d+)*)")
_SINKS = re.compile(rf"sinks(?::({WHOLE}))?")
_KEYS = re.compile(r"([\w.-]+):(\d+(?:[-,]\d+)*)")


def parse_cuts(specs: Spec | Sequence[Spec] | None) -> tuple[Intervention, ...]:
    """Read several cuts, in order.

    Raises:
        UsageError: one is none.
    """
    listed = [specs] if isinstance(specs, str | Intervention) else list(specs or ())
    return tuple(parse_cut(spec) for spec in listed)


def parse_cut(spec: Spec) -> Intervention:
    """Read a cut.

    Raises:
        UsageError: it is none; says what there is.
    """
    if isinstance(spec, Intervention):
        return spec
    if not isinstance(spec, str) or not spec.strip():
        raise UsageError(f"cut: expected {EXAMPLE}; got {spec!r:.60}")
    match = _LIMITS.fullmatch(spec.strip())
    what, limits = (match[1], match[2]) if match else (spec.strip(), "")
    cut = _parse_what(what.strip())
    for key, value in _split_limits(limits):
        cut = _LIMIT[key](cut, value)
    if cut.act == "mask" and cut.target.heads and not cut.target.has_keys:
        raise UsageError(f"cut: to mask no keys of heads is nothing; got '{spec}'")
    return cut


def _parse_what(what: str) -> Intervention:
    kind, _, rest = what.partition(" ")
    if kind in _KINDS and rest.strip():
        return _KINDS[kind](rest.strip())
    if match := _SINKS.fullmatch(what):
        count = int(match[1] or 1)
        if not count:
            raise UsageError("cut: sinks:0 are none; give a number from 1")
        return _mask(sinks=count)
    if what in ROLES:
        return _mask(roles=(what,))
    return _mask(segments=(what,)) if what in SEGMENTS else _mask(words=(what,))


def _mask(**keys: Any) -> Intervention:
    return Intervention(CutTarget(branch="cond", **keys), "mask")


def _parse_head(text: str) -> Intervention:
    match = _HEAD.fullmatch(text)
    if match is None:
        raise UsageError(f"cut: expected LAYER.HEAD, such as 'head 4.2'; got 'head {text}'")
    heads = _whole_numbers(match[2])
    return Intervention(CutTarget(layers=(match[1],), heads=heads, queries="all"), "skip")


def _parse_layer(text: str) -> Intervention:
    return Intervention(CutTarget(layers=_pieces(text), queries="all"), "skip")


def _parse_keys(text: str) -> Intervention:
    match = _KEYS.fullmatch(text)
    if match is None:
        raise UsageError(f"cut: expected SEGMENT:POSITIONS, such as 'keys clip:0-3'; got '{text}'")
    return _mask(positions=tuple((match[1], at) for at in _whole_numbers(match[2])))


_KINDS: Mapping[str, Callable[[str], Intervention]] = {
    "head": _parse_head,
    "layer": _parse_layer,
    "keys": _parse_keys,
    "segment": lambda text: _mask(segments=(text,)),
    "word": lambda text: _mask(words=(text,)),
}


def _split_limits(text: str) -> list[tuple[str, str]]:
    """Return keys and values; a piece without a key belongs to the value before it."""
    limits: list[tuple[str, str]] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = piece.partition("=")
        if equals:
            limits.append((key.strip(), value.strip()))
        elif piece in _ACTS:
            limits.append(("act", piece))
        elif limits:
            limits[-1] = limits[-1][0], f"{limits[-1][1]}, {piece}"
    for key, _ in limits:
        if key not in _LIMIT:
            raise UsageError(
                f"cut: unknown '{key}'.{did_you_mean(key, _LIMIT)} There are: {', '.join(_LIMIT)}"
            )
    return limits


def _with(name: str, read: Callable[[str], Any]) -> Callable[[Intervention, str], Intervention]:
    def change(cut: Intervention, text: str) -> Intervention:
        return replace(cut, target=replace(cut.target, **{name: read(text)}))

    return change


def _with_act(cut: Intervention, text: str) -> Intervention:
    act = next((act for act in _ACTS if act == text), None)
    if act is None:
        raise UsageError(f"cut: expected act=mask, act=mean or act=skip; got '{text}'")
    return replace(cut, act=act)


def _with_source(act: Any) -> Callable[[Intervention, str], Intervention]:
    def change(cut: Intervention, text: str) -> Intervention:
        if not text:
            raise UsageError(f"cut: {act} takes the prompt whose keys come in, {act}=a blue cat")
        return replace(cut, act=act, source=text)

    return change


def _with_amount(act: Any) -> Callable[[Intervention, str], Intervention]:
    def change(cut: Intervention, text: str) -> Intervention:
        amount = _number(act, text)
        if act == "scale" and amount < 0:
            raise UsageError(f"cut: {act} takes a factor from 0; got '{text}'")
        return replace(cut, act=act, amount=amount)

    return change


def _number(name: str, text: str) -> float:
    number = finite_number(text)
    if number is None:
        raise UsageError(f"cut: {name}: expected a number; got '{text}'")
    return number


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (piece.strip() for piece in re.split("[,+]", text))))


def _whole_numbers(text: str) -> tuple[int, ...]:
    """Read `0-3,7`."""
    numbers: list[int] = []
    for first, last in _whole_ranges(text):
        if last - first >= MOST_NUMBERS - len(numbers):
            raise UsageError(f"cut: expected at most {MOST_NUMBERS} numbers; got '{text}'")
        numbers += range(first, last + 1)
    return tuple(dict.fromkeys(numbers))


def _whole_ranges(text: str) -> list[tuple[int, int]]:
    ends = [_ends(piece) for piece in _pieces(text)]
    if not ends or not all(end.is_integer() for pair in ends for end in pair):
        raise UsageError(f"cut: expected whole numbers, such as 0-3,7; got '{text}'")
    return [(int(first), int(last)) for first, last in ends]


def _ends(text: str) -> tuple[float, float]:
    match = _RANGE.fullmatch(text)
    first, last = (float(match[1]), float(match[2] or match[1])) if match else (1.0, 0.0)
    if last < first:
        raise UsageError(f"cut: expected a range such as 0-9; got '{text}'")
    return first, last


def _steps(text: str) -> tuple[int, int]:
    ranges = _whole_ranges(text)
    return ranges[0][0], ranges[-1][1]


def _noise(text: str) -> tuple[float, float]:
    ends = _ends(text)
    if ends[1] > 1:
        raise UsageError(f"cut: noise is 0 to 1; got '{text}'")
    return ends


def _seed(text: str) -> int:
    return _whole_numbers(text)[0]


_LIMIT: dict[str, Callable[[Intervention, str], Intervention]] = {
    "layers": _with("layers", _pieces),
    "heads": _with("heads", _whole_numbers),
    "queries": _with("queries", str),
    "steps": _with("steps", _steps),
    "noise": _with("noise", _noise),
    "branch": _with("branch", lambda text: None if text == "both" else text),
    "random": _with("random", _seed),
    "act": _with_act,
}
_LIMIT |= {act: _with_amount(act) for act in WITH_AMOUNT}
_LIMIT |= {act: _with_source(act) for act in SWAPS}
