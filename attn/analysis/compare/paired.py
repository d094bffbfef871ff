"""What a change is worth: means over pairs, their bootstrap interval, their effect size.

Definitions, for the changes d₁ … dₙ of n pairs (variant minus base, both from the same noise), with
mean m and standard deviation s (n - 1 in its denominator):

- change           m
- relative change  m divided by the mean of the base
- interval         bootstrap-t, 95 %: [m - q₉₇.₅ · s/√n, m - q₂.₅ · s/√n], with q the quantiles of
                   t* = (m* - m) / (s*/√n) over `RESAMPLES` draws of n pairs with replacement; with
                   fewer than `DIFFERENT` changes that differ, q are those of Student's t.
- effect size      d_z = m / s: Cohen's d for pairs (Cohen 1988, 2.3.5; Lakens 2013, eq. 7). 0 if no
                   pair changes; unknown if all change by the same amount.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 12.5. The percentile
bootstrap is too narrow for few pairs: it forgets that s is not known. The bootstrap-t is erratic
for few different changes: a draw of two that happen to lie near each other has a tiny s*, and such
draws are the tails. With 4 pairs its intervals are up to thousands of times wider than Student's,
and hold the truth no more often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import prod

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers, mean_present
from attn.shapes import Cells, PairCells

Sides = tuple[Numbers, Numbers]
"""Base and variant, (pair, …)."""
_Interval = tuple[Numbers, Numbers, Numbers]
"""Low, high and effect size."""
_Chunk = tuple[int, NDArray[np.int64], Numbers]
"""Number of a group, some of its cells, and their changes (pair, cell) without NaN."""

LEVEL = 0.95
RESAMPLES = 2000
FEWEST = 4
"""Pairs; with fewer there is no interval."""
DIFFERENT = 8
"""Changes that differ from each other; fewer are too few to draw from."""
ALIKE = 1e-6
"""Changes nearer to each other than this, in units of s, do not differ."""
CHUNK = 64
"""Cells that are drawn for at once: 1 MB of draws, which stays near the processor."""
BLOCK = 2**17
"""Weights of draws that are made at once: 1 MB, however many pairs there are."""
SAME = 1e-12
"""Variance, in units of s², below which a draw counts as one pair drawn over and over."""


@dataclass(frozen=True)
class PairedChange:
    """Changes of many cells at once; every array has their shape.

    Attributes:
        base: mean over pairs.
        variant: mean over pairs.
        change: mean over pairs of variant minus base.
        low: lower end of the interval; NaN with too few pairs.
        high: upper end.
        effect_size: Cohen's d_z; NaN where it is unknown.
        n: number of pairs that have the cell.
    """

    base: Cells
    variant: Cells
    change: Cells
    low: Cells
    high: Cells
    effect_size: Cells
    n: NDArray[np.int64]

    @property
    def relative(self) -> Cells:
        """Change divided by the base; NaN where that is 0."""
        return np.divide(
            self.change, self.base, out=np.full_like(self.base, np.nan), where=self.base != 0
        )


def join_cells(parts: Sequence[PairedChange], shape: tuple[int, ...]) -> PairedChange:
    """Return the changes of several rows of cells as those of one array of this shape."""
    names = [entry.name for entry in fields(PairedChange)]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts]).reshape(shape)
        for name in names
    }
    return PairedChange(**arrays)


def paired_change(base: PairCells, variant: PairCells) -> PairedChange:
    """Compare pairs, cell by cell.

    Args:
        base: (pair, …); NaN where a pair does not have a cell.
        variant: likewise.
    """
    (change,) = paired_changes([(base, variant)])
    return change


def paired_changes(groups: Sequence[Sides]) -> list[PairedChange]:
    """Compare pairs, cell by cell, of several groups of cells; pairs are drawn once for many cells.

    Args:
        groups: base and variant of each, (pair, …); NaN where a pair does not have a cell.
    """
    sides, changes = [], []
    for base, variant in groups:
        missing = np.isnan(base) | np.isnan(variant)
        before, after = (np.where(missing, np.nan, values) for values in (base, variant))
        sides.append((before, after, missing))
        changes.append(after - before)
    return [
        PairedChange(
            base=mean_present(before, 0),
            variant=mean_present(after, 0),
            change=mean_present(change, 0),
            low=low,
            high=high,
            effect_size=effect,
            n=np.asarray((~missing).sum(0)),
        )
        for (before, after, missing), change, (low, high, effect) in zip(
            sides, changes, _intervals(changes), strict=True
        )
    ]


def paired_interval(changes: PairCells) -> tuple[Cells, Cells, Cells]:
    """Return low, high and effect size of each cell.

    Args:
        changes: (pair, …); pairs that are NaN are left out of a cell.
    """
    (interval,) = _intervals([changes])
    return interval


def _intervals(groups: Sequence[Numbers]) -> list[_Interval]:
    """Return low, high and effect size of each cell of several groups, each (pair, …)."""
    results = [np.full((3, prod(changes.shape[1:])), np.nan) for changes in groups]
    for batch in _batches(_chunks(groups)):
        for (at, cells, _), interval in zip(batch, _of_complete(batch), strict=True):
            results[at][:, cells] = interval
    shapes = [changes.shape[1:] for changes in groups]
    return [
        (low.reshape(shape), high.reshape(shape), effect.reshape(shape))
        for (low, high, effect), shape in zip(results, shapes, strict=True)
    ]


def _chunks(groups: Sequence[Numbers]) -> Iterator[_Chunk]:
    """Yield cells of one group that the same pairs have: `CHUNK` of them at most."""
    for at, changes in enumerate(groups):
        flat = changes.reshape(len(changes), -1)
        there = ~np.isnan(flat)
        alike: dict[bytes, list[int]] = {}
        for cell, pairs in enumerate(there.T):
            alike.setdefault(np.packbits(pairs).tobytes(), []).append(cell)
        for cells in alike.values():
            for start in range(0, len(cells), CHUNK):
                selected = np.array(cells[start : start + CHUNK])
                yield at, selected, flat[np.ix_(there[:, cells[0]], selected)]


def _batches(chunks: Iterable[_Chunk]) -> Iterator[list[_Chunk]]:
    """Yield chunks of equally many pairs that have `CHUNK` cells at most together."""
    batch: list[_Chunk] = []
    for chunk in chunks:
        cells = sum(len(selected) for _, selected, _ in (*batch, chunk))
        if batch and (cells > CHUNK or len(chunk[2]) != len(batch[0][2])):
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def _of_complete(batch: Sequence[_Chunk]) -> list[Numbers]:
    """Return (3, cell) of each chunk: low, high, effect size of (pair, cell) without NaN."""
    several = [changes for _, _, changes in batch]
    count = len(several[0])
    if count < 2:  # noqa: PLR2004 - one pair has no spread
        still = [np.where((changes == 0).all(0), 0.0, np.nan) for changes in several]
        return [np.stack([np.full_like(cells, np.nan)] * 2 + [cells]) for cells in still]
    moments = [_moments(changes) for changes in several]
    effects = [
        np.where(spread > 0, mean / scale, np.where(mean == 0, 0.0, np.nan))
        for mean, spread, scale in moments
    ]
    if count < FEWEST:
        return [np.stack([np.full_like(effect, np.nan)] * 2 + [effect]) for effect in effects]
    tails = _tails(
        [(changes - of[0]) / of[2] for changes, of in zip(several, moments, strict=True)]
    )
    return [
        _interval(mean, spread, tail, effect, count)
        for (mean, spread, _), tail, effect in zip(moments, tails, effects, strict=True)
    ]


def _moments(changes: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return mean, spread, and what to divide by: the spread, or 1 where there is none."""
    mean = changes.mean(0)
    spread = np.where((changes == changes[0]).all(0), 0.0, changes.std(0, ddof=1))
    return mean, spread, np.where(spread > 0, spread, 1.0)


def _interval(
    mean: Numbers, spread: Numbers, tails: Numbers, effect: Numbers, count: int
) -> Numbers:
    lower, upper = np.where(spread > 0, tails, 0.0)
    error = spread / np.sqrt(count)
    return np.stack([mean - upper * error, mean - lower * error, effect])


def _tails(several: Sequence[Numbers]) -> list[Numbers]:
    """Return (2, cell) of each: what t* is below, and above, in half the cases outside `LEVEL`."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    reach = stdtrit(len(several[0]) - 1, (1 + LEVEL) / 2)  # of Student's t
    tails = [np.repeat([[-reach], [reach]], cells.shape[1], axis=1) for cells in several]
    many = [
        1 + (np.diff(np.sort(cells, 0), axis=0) > ALIKE).sum(0) >= DIFFERENT for cells in several
    ]
    drawn = [at for at, cells in enumerate(many) if cells.any()]
    quantiles = _quantiles([several[at][:, many[at]] for at in drawn])
    for at, values in zip(drawn, quantiles, strict=True):
        tails[at][:, many[at]] = values
    return tails


def _quantiles(several: Sequence[Numbers]) -> list[Numbers]:
    """Return (2, cell) of each: the two quantiles of t* for pairs of mean 0 and spread 1."""
    parts: list[list[Numbers]] = [[] for _ in several]
    for weights in _draws(len(several[0])) if several else ():
        for part, standard in zip(parts, several, strict=True):
            part.append(_studentised(weights, standard))
    return [_outer(np.concatenate(part)) for part in parts]


def _outer(t: Numbers) -> Numbers:
    """Return (2, cell) of (draw, cell), which is reordered."""
    tail = round((1 - LEVEL) / 2 * RESAMPLES)
    t.partition((tail, RESAMPLES - 1 - tail), axis=0)
    return np.asarray(t[[tail, RESAMPLES - 1 - tail]])


def _studentised(weights: Numbers, standard: Numbers) -> Numbers:
    """Return t* (draw, cell) of draws with these weights, (draw, pair)."""
    count = len(standard)
    mean = weights @ standard
    variance = np.maximum(weights @ standard**2 - mean**2, 0.0) * count / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            variance > SAME, mean / np.sqrt(variance / count), np.copysign(np.inf, mean)
        )


def _draws(count: int) -> Iterator[Numbers]:
    """Yield (draw, pair), block by block: the weight of each pair in each draw, always the same."""
    chance = np.random.default_rng(0)
    block = max(1, BLOCK // count)
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = chance.integers(count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        hits = np.bincount(drawn.ravel(), minlength=size * count)
        yield hits.reshape(size, count) / count
