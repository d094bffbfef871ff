"""What changes between pairs of traces: measures of a pair, and their changes term by term."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from attn.analysis.compare.paired import PairedChange, join_cells, paired_change
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.spool import NumbersFile
from attn.analysis.compare.terms import Key, Term
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.sketch.sketch import COMPARED
from attn.words import fold, is_content

Measure = Callable[[Pair], tuple[Numbers, Numbers] | None]
"""Takes (sample, term, …) of base and variant out of a pair; None if it has no such thing."""

Words = Sequence[str] | None
"""Only these words; None is all."""

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

    def append(self, both: Numbers) -> None:
        """Add a pair, (side, sample, …)."""
        samples = both.shape[1]
        cells = both.reshape(2 * samples, prod(self.shape)).T
        self.starts.append(self.file.append([cells]))
        self.samples.append(samples)

    def compare(self) -> PairedChange:
        """Return the change of every cell."""
        return join_cells([paired_change(*both) for both in self._tiles()], self.shape)

    def _tiles(self) -> Iterator[Numbers]:
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
    entries = [entry for entry in _all_changes(pairs, measure) if entry.term.kind != "sink"]
    return [entries[index] for index in named([entry.term for entry in entries], words)]


def named(terms: Sequence[Term], words: Words) -> list[int]:
    """Return the indices of the requested words and of all phrases among the terms."""
    wanted = None if words is None else {fold(word) for word in words}
    return [
        index
        for index, term in enumerate(terms)
        if wanted is None or term.kind == "phrase" or fold(term.text) in wanted
    ]


def sink_changes(pairs: Sequence[Pair], measure: Measure) -> list[TermChange]:
    """Compare the special tokens that open the segments, and those of a drawing together."""
    return [entry for entry in _all_changes(pairs, measure) if entry.term.kind == "sink"]


def competing(entries: Iterable[TermChange]) -> list[TermChange]:
    """Return the terms that some pair has a number of: stop-words dominate nothing."""
    return [entry for entry in entries if entry.change.n > 0]


def content_first(changes: Iterable[TermChange]) -> list[TermChange]:
    """Return changes in their order, but articles, prepositions and the like behind all others."""
    return sorted(changes, key=lambda entry: not is_content(entry.term.text))


def by_size(entries: Iterable[TermChange]) -> list[TermChange]:
    """Order terms of single numbers by their absolute change, the largest first."""
    return sorted(entries, key=lambda entry: -abs(float(entry.change.change)))


def has_layers(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same layers."""
    kinds = {tuple((layer.path, layer.num_heads) for layer in pair.layers) for pair in pairs}
    return len(kinds) == 1 and all(pair.agreement.by_layer for pair in pairs)


def has_steps(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same steps."""
    return len({pair.steps for pair in pairs}) == 1 and all(
        pair.agreement.by_step for pair in pairs
    )


def has_maps(pairs: Sequence[Pair]) -> bool:
    """Whether the traces of some pair have maps; the others are left out."""
    return any(pair.alike is not None for pair in pairs)


def is_clear(entry: TermChange) -> bool:
    """Whether the interval of a single number leaves 0 out."""
    return bool(entry.change.low > 0 or entry.change.high < 0)


def headline(entries: Iterable[TermChange]) -> TermChange | None:
    """Return the word that a comparison is told by, or None where there is none.

    It is the one of largest absolute change: of content words if any of these changed, or if no
    word did, and of those whose interval leaves 0 out if there are any.
    """
    words = [entry for entry in by_size(entries) if entry.term.kind == "word"]
    changed = [entry for entry in words if entry.change.change != 0]
    content = [entry for entry in changed if is_content(entry.term.text)] or changed
    content = content or content_first(words)
    return next(filter(is_clear, content), next(iter(content), None))


def _all_changes(pairs: Sequence[Pair], measure: Measure) -> list[TermChange]:
    """Compare every term, in the order in which pairs name them."""
    terms: dict[Key, Term] = {}
    sides: dict[Key, _Sides] = {}
    file = NumbersFile()
    for pair in pairs:
        indices = {term.key: index for index, term in enumerate(pair.terms)}
        for term in pair.terms:
            terms.setdefault(term.key, term)
        values = measure(pair)
        if values is None:
            continue
        both = np.stack(values)
        for key, index in indices.items():
            sides.setdefault(key, _Sides(file, both.shape[3:])).append(both[:, :, index])
    return [TermChange(terms[key], sides[key].compare()) for key in terms if key in sides]


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
