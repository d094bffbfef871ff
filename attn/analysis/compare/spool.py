"""Any number of pairs of traces: their arrays are in a file, one pair is in memory at a time."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any, overload

import numpy as np

from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.reading import SideReading
from attn.analysis.numbers import Numbers
from attn.files.spool import Spool

_READ = ("mass", "mass_steps", "share", "share_steps")
_COMPARED = ("alike", "dominant", "overlap", "lifts", "followed", "coarse", "images")
_EMPTY = np.zeros(0)
_BYTES = 8

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Kind:
    """What pairs have in common: all but their numbers, and which of these is what.

    Attributes:
        pair: the first of them, whose arrays are empty.
        shapes: of the arrays, by name.
        spans: first number and end of each array.
        size: bytes of all arrays.
    """

    pair: Pair
    shapes: Shapes
    spans: tuple[tuple[str, int, int], ...]
    size: int


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
    and then in memory once; of such a pair there are sixteen bytes in memory.
    """

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._file = Spool()
        self._kinds: list[_Kind] = []
        self._numbers = array("q")  # of each pair, that of its kind
        self._stops = array("q")  # of each pair, where it ends in the file
        for pair in pairs:
            self.append(pair)

    def append(self, pair: Pair) -> None:
        """Add a pair; its maps are left out.

        Raises:
            TraceError: the disk is full.
        """
        numbers = {name: np.asarray(one, np.float64) for name, one in _numbers(pair).items()}
        about = _with_numbers(pair.without_maps(), dict.fromkeys(numbers, _EMPTY))
        shapes: Shapes = {name: one.shape for name, one in numbers.items()}
        is_new = True
        for before in self._kinds[-1:]:
            about = _share(about, before.pair)
            is_new = about is not before.pair or shapes != before.shapes
        if is_new:
            self._kinds.append(_make_kind(about, shapes))
        request = json.dumps([pair.prompt, pair.seed]).encode("ascii")  # takes any text
        data = b"".join((*(array.tobytes() for array in numbers.values()), request))
        self._stops.append(self._file.append(data) + len(data))
        self._numbers.append(len(self._kinds) - 1)

    @property
    def kinds(self) -> list[Pair]:
        """One pair of each kind, in the order in which they came, whose arrays are empty."""
        return [kind.pair for kind in self._kinds]

    def __len__(self) -> int:
        return len(self._stops)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | Sequence[Pair]:
        numbers = range(len(self))[place]
        return self._load(numbers) if isinstance(numbers, int) else [*map(self._load, numbers)]

    def __iter__(self) -> Iterator[Pair]:
        return map(self._load, range(len(self)))

    def _load(self, at: int) -> Pair:
        kind = self._kinds[self._numbers[at]]
        start = self._stops[at - 1] if at else 0
        data = self._file.read(start, self._stops[at] - start)
        flat = np.frombuffer(data, np.float64, kind.size // _BYTES)
        numbers = {
            name: flat[first:stop].reshape(kind.shapes[name]).copy()  # a view would hold all
            for name, first, stop in kind.spans
        }
        prompt, seed = json.loads(data[kind.size :])
        return _with_numbers(kind.pair, numbers, (prompt, seed))


def _make_kind(pair: Pair, shapes: Shapes) -> _Kind:
    stops = list(accumulate(map(prod, shapes.values())))
    spans = tuple(zip(shapes, [0, *stops], stops, strict=False))
    return _Kind(pair, shapes, spans, _BYTES * stops[-1])


def kinds(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Return what describes pairs, but not how many there are of what: without numbers.

    Layers, steps, terms, what agrees, what lacks, and the names of `changed` are those of pairs.
    """
    return pairs.kinds if isinstance(pairs, Pairs) else pairs


def _numbers(pair: Pair) -> dict[str, Numbers]:
    """Return every array of a pair, by a name."""
    sides = {"base": pair.base, "variant": pair.variant}
    of_sides = {f"{side}.{name}": vars(one)[name] for side, one in sides.items() for name in _READ}
    compared = {name: vars(pair)[name] for name in _COMPARED if vars(pair)[name] is not None}
    return of_sides | compared | {f"changed.{name}": one for name, one in pair.changed.items()}


def _with_numbers(
    pair: Pair, numbers: Mapping[str, Numbers], request: tuple[str, int] | None = None
) -> Pair:
    """Return a pair with other arrays of the same names, and another prompt and seed if given."""

    def side(reading: SideReading, name: str) -> SideReading:
        changes: dict[str, Any] = {field: numbers[f"{name}.{field}"] for field in _READ}
        return replace(reading, **changes)

    prompt, seed = request or (pair.prompt, pair.seed)
    compared: dict[str, Any] = {name: numbers.get(name) for name in _COMPARED}
    return replace(
        pair,
        base=side(pair.base, "base"),
        variant=side(pair.variant, "variant"),
        changed={name: numbers[f"changed.{name}"] for name in pair.changed},
        prompt=prompt,
        seed=seed,
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
