"""What changes between pairs of traces: measures of a pair, and their changes term by term."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeVar

import numpy as np

from attn.analysis.compare.paired import PairedChange, join_cells, paired_changes
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.spool import NumbersFile, kinds
from attn.analysis.compare.terms import Key, Term
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.sketch.sketch import COMPARED
from attn.words import fold, is_content

Measure = Callable[[Pair], tuple[Numbers, Numbers] | None]
"""Takes (sample, term, …) of base and variant out of a pair; None if it has no such thing."""

Words = Sequence[str] | None
"""Only these words; None is all."""

Told = TypeVar("Told")

MATTERS = 0.1
"""A word or layer matters if it changes by this part of the largest change or more."""
LARGEST = 2**19
"""Bytes of all pairs that are in memory at once; the bytes of a single cell at least."""


@dataclass(frozen=True)
class TermChange:
    """The change of one term; the arrays of `change` are cells: layers, heads, steps, or one."""

    term: Term
    change: PairedChange


@dataclass(frozen=True)
class _Sides:
    """Base and variant of one term in every pair that has it: in a file, cell by cell of a pair.

    Attributes:
        file: holds the numbers.
        shape: of the cells.
        starts: of every pair, where its numbers begin.
        samples: of every pair, how many it has.
    """

    file: NumbersFile
    shape: tuple[int, ...]
    starts: array[int] = field(default_factory=lambda: array("q"))
    samples: array[int] = field(default_factory=lambda: array("l"))

    def append(self, start: int, samples: int) -> None:
        """Add a pair whose numbers, (cell, side · sample), begin there in the file."""
        self.starts.append(start)
        self.samples.append(samples)

    def tiles(self) -> Iterator[Numbers]:
        """Yield (side, pair, cell): all pairs, and as many cells as fit into `LARGEST` bytes."""
        size, rows = prod(self.shape), sum(self.samples)
        most = max(1, LARGEST // np.empty((2, rows)).nbytes)
        for first in range(0, max(1, size), most):
            cells = min(most, size - first)
            both = np.empty((2, rows, cells))
            stop = 0
            for start, samples in zip(self.starts, self.samples, strict=True):
                both[:, stop : stop + samples] = self._read(start, samples, first, cells)
                stop += samples
            yield both

    def _read(self, start: int, samples: int, first: int, cells: int) -> Numbers:
        """Return (side, sample, cell) of one pair."""
        values = self.file.read(start + 2 * samples * first, 2 * samples * cells)
        return values.reshape(cells, 2 * samples).T.reshape(2, samples, cells)


def mass(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by layer, mean over heads and steps."""
    return pair.base.mass[..., 0], pair.variant.mass[..., 0]


def share(pair: Pair) -> tuple[Numbers, Numbers]:
    """Share by layer, mean over steps."""
    return pair.base.share, pair.variant.share


def heads(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by layer and single head, mean over steps."""
    return pair.base.mass[..., 1:], pair.variant.mass[..., 1:]


def mass_steps(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by step, mean over layers and heads."""
    return pair.base.mass_steps, pair.variant.mass_steps


def share_steps(pair: Pair) -> tuple[Numbers, Numbers]:
    """Share by step, mean over layers."""
    return pair.base.share_steps, pair.variant.share_steps


def dominant(pair: Pair) -> tuple[Numbers, Numbers] | None:
    """Part of the places that a word dominates."""
    return None if pair.dominant is None else (pair.dominant[0], pair.dominant[1])


def located(grid: tuple[int, ...]) -> Measure:
    """Return where words are attended to, (sample, term, row, column), of pairs with this grid."""

    def measure(pair: Pair) -> tuple[Numbers, Numbers] | None:
        if pair.coarse is None or pair.coarse.shape[-2:] != grid:
            return None
        return pair.coarse[0], pair.coarse[1]

    return measure


def coarse_grid(pairs: Sequence[Pair]) -> tuple[int, ...] | None:
    """Return the grid of the first maps that are kept of pairs; None without maps."""
    return next((pair.coarse.shape[-2:] for pair in pairs if pair.coarse is not None), None)


def drawn(name: str) -> Measure:
    """Return one of `sketch.COMPARED` of each word's map and one drawing."""
    column = COMPARED.index(name)

    def measure(pair: Pair) -> tuple[Numbers, Numbers] | None:
        overlap = overlap_sides(pair)
        return None if overlap is None else (overlap[0][..., column], overlap[1][..., column])

    return measure


def overall(measure: Measure) -> Measure:
    """Return the mean of a measure over its last axis, the layers."""

    def mean(pair: Pair) -> tuple[Numbers, Numbers] | None:
        sides = measure(pair)
        return None if sides is None else (mean_present(sides[0], -1), mean_present(sides[1], -1))

    return mean


def changes(pairs: Sequence[Pair], measure: Measure, words: Words = None) -> list[TermChange]:
    """Compare words and phrases over all pairs and samples, in the order of the prompt.

    Args:
        pairs: of one variant.
        measure: what to compare.
        words: only these words, and every phrase; None is all.
    """
    return _all_changes(pairs, measure, lambda terms: _named_words(terms, words))


def named(terms: Sequence[Term], words: Words) -> list[int]:
    """Return the indices of the requested words and of all phrases among the terms."""
    wanted = None if words is None else {fold(word) for word in words}
    return [
        index
        for index, term in enumerate(terms)
        if wanted is None or term.kind == "phrase" or fold(term.text) in wanted
    ]


def _named_words(terms: Sequence[Term], words: Words) -> list[int]:
    """Return the indices of the requested words and of all phrases: of what is no sink."""
    indices = [at for at, term in enumerate(terms) if term.kind != "sink"]
    return [indices[at] for at in named([terms[at] for at in indices], words)]


def sink_changes(pairs: Sequence[Pair], measure: Measure) -> list[TermChange]:
    """Compare the special tokens that open the segments, and those of a drawing together."""
    return _all_changes(
        pairs, measure, lambda terms: [at for at, term in enumerate(terms) if term.kind == "sink"]
    )


def competing(entries: Iterable[TermChange]) -> list[TermChange]:
    """Return the terms that some pair has a number of: stop-words dominate nothing."""
    return [entry for entry in entries if entry.change.n > 0]


def content_first(changes: Iterable[TermChange]) -> list[TermChange]:
    """Return changes in their order, but articles, prepositions and the like behind all others."""
    return sorted(changes, key=lambda entry: not is_content(entry.term.text))


def content_only(changes: Iterable[TermChange]) -> list[TermChange]:
    """Return the changes of words that name something, or all if none does."""
    listed = list(changes)
    return [entry for entry in listed if is_content(entry.term.text)] or listed


def by_part(entries: Iterable[TermChange]) -> list[TermChange]:
    """Order terms of single numbers as they are told; see `rank_told`."""
    return rank_told(entries, _told_numbers)


def by_size(entries: Iterable[TermChange]) -> list[TermChange]:
    """Order terms of single numbers by their absolute change, the largest first."""
    return sorted(entries, key=lambda entry: -abs(float(entry.change.change)))


def has_layers(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same layers."""
    described = kinds(pairs)
    layers = {tuple((layer.path, layer.num_heads) for layer in kind.layers) for kind in described}
    return len(layers) == 1 and all(kind.agreement.by_layer for kind in described)


def has_steps(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same steps."""
    described = kinds(pairs)
    return len({kind.steps for kind in described}) == 1 and all(
        kind.agreement.by_step for kind in described
    )


def has_maps(pairs: Sequence[Pair]) -> bool:
    """Whether the traces of some pair have maps; the others are left out."""
    return any(kind.alike is not None for kind in kinds(pairs))


def is_clear(entry: TermChange) -> bool:
    """Whether the interval of a single number leaves 0 out."""
    return bool(entry.change.low > 0 or entry.change.high < 0)


def rank_told(items: Iterable[Told], numbers: Callable[[Told], tuple[float, float]]) -> list[Told]:
    """Order changes as they are told: by the part of their base, the largest first.

    Those below `MATTERS` of the largest absolute change come behind all others.

    Args:
        items: to order.
        numbers: takes the absolute change and the relative one out of an item.
    """
    listed = list(items)
    least = MATTERS * max((abs(numbers(item)[0]) for item in listed), default=0.0)

    def rank(item: Told) -> tuple[bool, float]:
        change, relative = numbers(item)
        return abs(change) < least, -math.inf if math.isnan(relative) else -abs(relative)

    return sorted(listed, key=rank)


def headline(entries: Iterable[TermChange]) -> TermChange | None:
    """Return the word that a comparison is told by, or None where there is none.

    It is the one of largest relative change, as `rank_told` ranks them: of content words if any of
    these changed, or if no word did, and of those whose interval leaves 0 out if there are any.
    """
    return next(iter(by_part(_may_lead(entries))), None)


def strongest(entries: Iterable[TermChange]) -> TermChange | None:
    """Return the word of largest absolute change of those of which `headline` takes one."""
    return next(iter(_may_lead(entries)), None)


def _may_lead(entries: Iterable[TermChange]) -> list[TermChange]:
    words = [entry for entry in by_size(entries) if entry.term.kind == "word"]
    changed = [entry for entry in words if entry.change.change != 0]
    content = [entry for entry in changed if is_content(entry.term.text)] or changed
    content = content or content_first(words)
    return [entry for entry in content if is_clear(entry)] or content


def _told_numbers(entry: TermChange) -> tuple[float, float]:
    return float(entry.change.change), float(entry.change.relative)


def _all_changes(
    pairs: Sequence[Pair], measure: Measure, select: Callable[[Sequence[Term]], list[int]]
) -> list[TermChange]:
    """Compare the terms that are selected of each pair, in the order in which pairs name them."""
    terms: dict[Key, Term] = {}
    sides: dict[Key, _Sides] = {}
    file = NumbersFile()
    indices: dict[Key, int] = {}
    before: Sequence[Term] = ()
    for pair in pairs:
        if pair.terms is not before:  # those of one kind share them
            before = pair.terms
            indices = {before[index].key: index for index in select(before)}
            for key, index in indices.items():
                terms.setdefault(key, before[index])
        values = measure(pair)
        if values is None:
            continue
        both = np.stack(values)
        rows, shape = 2 * both.shape[1], both.shape[3:]
        start = file.append(both[:, :, at].reshape(rows, prod(shape)).T for at in indices.values())
        for number, key in enumerate(indices):
            of_term = sides.setdefault(key, _Sides(file, shape))
            of_term.append(start + number * rows * prod(shape), both.shape[1])
    keys = [key for key in terms if key in sides]
    compared = _compare([sides[key] for key in keys])
    return [TermChange(terms[key], change) for key, change in zip(keys, compared, strict=True)]


def _compare(several: Sequence[_Sides]) -> list[PairedChange]:
    """Return the change of every cell of terms; cells of `LARGEST` bytes are compared at once."""
    parts: list[list[PairedChange]] = [[] for _ in several]
    tiles = ((at, tile) for at, sides in enumerate(several) for tile in sides.tiles())
    for batch in _batches(tiles):
        changes = paired_changes([(both[0], both[1]) for _, both in batch])
        for (at, _), change in zip(batch, changes, strict=True):
            parts[at].append(change)
    return [join_cells(part, sides.shape) for part, sides in zip(parts, several, strict=True)]


def _batches(tiles: Iterable[tuple[int, Numbers]]) -> Iterator[list[tuple[int, Numbers]]]:
    """Yield tiles that fit into `LARGEST` bytes together, or single ones."""
    batch: list[tuple[int, Numbers]] = []
    size = 0
    for at, tile in tiles:
        if batch and size + tile.nbytes > LARGEST:
            yield batch
            batch, size = [], 0
        batch.append((at, tile))
        size += tile.nbytes
    if batch:
        yield batch


def similar(pair: Pair) -> tuple[Numbers, Numbers] | None:
    """How alike the maps of words are, as a change from 0."""
    return None if pair.alike is None else (np.zeros_like(pair.alike), pair.alike)


def overlap_sides(pair: Pair) -> tuple[Numbers, Numbers] | None:
    """Overlaps of words' maps with one drawing."""
    return None if pair.overlap is None else (pair.overlap[0], pair.overlap[1])


def lifted(closed: tuple[str, ...]) -> Measure:
    """Return how much words read closed shapes, (sample, term, shape), of pairs that have these."""

    def measure(pair: Pair) -> tuple[Numbers, Numbers] | None:
        if pair.lifts is None or pair.closed != closed:
            return None
        return pair.lifts[0], pair.lifts[1]

    return measure
