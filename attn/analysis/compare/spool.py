"""Any number of pairs of traces: their arrays are in a file, one pair is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any, overload

import numpy as np

from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.reading import SideReading
from attn.analysis.numbers import Numbers
from attn.files.spool import Spool, SpooledList

_READ = ("mass", "mass_steps", "share", "share_steps")
_COMPARED = ("alike", "dominant", "overlap", "lifts", "followed", "coarse", "images")
_EMPTY = np.zeros(0)
_BYTES = 8

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Kept:
    """One pair: the number of its kind, where its numbers are, and what it is of."""

    kind: int
    start: int
    prompt: str
    seed: int


class NumbersFile:
    """Numbers, one after the other: in memory while they are few, else in a file without a name."""

    def __init__(self) -> None:
        self._file = Spool()

    def append(self, arrays: Iterable[Numbers]) -> int:
        """Add arrays at the end, in C order, and return the index of their first number.

        Raises:
            TraceError: the disk is full.
        """
        return self._file.append(b"".join(array.tobytes() for array in arrays)) // _BYTES

    def read(self, start: int, count: int) -> Numbers:
        """Return `count` numbers from the one with this index on."""
        return np.frombuffer(self._file.read(_BYTES * start, _BYTES * count), np.float64)


class Pairs(Sequence[Pair]):
    """Pairs without maps, in the order in which they were added; each is read when it is asked for.

    What describes a pair (layers, terms, what agrees) is often the same as of the pair before it,
    and then in memory once; of such a pair there are eight bytes in memory.
    """

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._file = NumbersFile()
        self._kinds: list[tuple[Pair, Shapes]] = []
        self._kept: SpooledList[_Kept] = SpooledList(_Kept)
        for pair in pairs:
            self.append(pair)

    def append(self, pair: Pair) -> None:
        """Add a pair; its maps are left out.

        Raises:
            TraceError: the disk is full.
        """
        numbers = {name: np.asarray(one, np.float64) for name, one in _numbers(pair).items()}
        start = self._file.append(numbers.values())
        about = _with_numbers(pair.without_maps(), dict.fromkeys(numbers, _EMPTY))
        shapes: Shapes = {name: one.shape for name, one in numbers.items()}
        is_new = True
        for before, before_shapes in self._kinds[-1:]:
            about = _share(about, before)
            is_new = about is not before or shapes != before_shapes
        if is_new:
            self._kinds.append((about, shapes))
        self._kept.append(_Kept(len(self._kinds) - 1, start, pair.prompt, pair.seed))

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(place, slice):
            return [self._load(kept) for kept in self._kept[place]]
        return self._load(self._kept[place])

    def __iter__(self) -> Iterator[Pair]:
        return map(self._load, self._kept)

    def _load(self, kept: _Kept) -> Pair:
        pair, shapes = self._kinds[kept.kind]
        stops = list(accumulate(map(prod, shapes.values())))
        flat = self._file.read(kept.start, stops[-1])
        spans = zip(shapes.items(), [0, *stops], stops, strict=False)
        numbers = {
            name: flat[at:stop].reshape(shape).copy()  # a view would hold all of the pair
            for (name, shape), at, stop in spans
        }
        return _with_numbers(replace(pair, prompt=kept.prompt, seed=kept.seed), numbers)


def _numbers(pair: Pair) -> dict[str, Numbers]:
    """Return every array of a pair, by a name."""
    sides = {"base": pair.base, "variant": pair.variant}
    of_sides = {f"{side}.{name}": vars(one)[name] for side, one in sides.items() for name in _READ}
    compared = {name: vars(pair)[name] for name in _COMPARED if vars(pair)[name] is not None}
    return of_sides | compared | {f"changed.{name}": one for name, one in pair.changed.items()}


def _with_numbers(pair: Pair, numbers: Mapping[str, Numbers]) -> Pair:
    """Return a pair with other arrays of the same names."""

    def side(reading: SideReading, name: str) -> SideReading:
        changes: dict[str, Any] = {field: numbers[f"{name}.{field}"] for field in _READ}
        return replace(reading, **changes)

    compared: dict[str, Any] = {name: numbers.get(name) for name in _COMPARED}
    return replace(
        pair,
        base=side(pair.base, "base"),
        variant=side(pair.variant, "variant"),
        changed={name: numbers[f"changed.{name}"] for name in pair.changed},
        **compared,
    )


def _share(pair: Pair, before: Pair) -> Pair:
    """Let a pair without numbers be the one before it, or have parts of it, where they are equal.

    Layers and terms are read from every trace anew, and are larger than the numbers.
    """
    if _description(pair) == _description(before):
        return before
    layers = before.layers if pair.layers == before.layers else pair.layers
    agreement = before.agreement if pair.agreement == before.agreement else pair.agreement
    return replace(pair, layers=layers, agreement=agreement)


def _description(pair: Pair) -> tuple[object, ...]:
    """Return all of a pair that is no number, but for what it is of."""
    of_sides = [(side.terms, side.lack) for side in (pair.base, pair.variant)]
    return pair.agreement, pair.layers, pair.steps, of_sides, pair.closed, list(_numbers(pair))
