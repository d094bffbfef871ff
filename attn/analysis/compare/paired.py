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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers, mean_present
from attn.shapes import Cells, PairCells

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
    missing = np.isnan(base) | np.isnan(variant)
    before, after = (np.where(missing, np.nan, values) for values in (base, variant))
    changes = after - before
    low, high, effect = paired_interval(changes)
    return PairedChange(
        base=mean_present(before, 0),
        variant=mean_present(after, 0),
        change=mean_present(changes, 0),
        low=low,
        high=high,
        effect_size=effect,
        n=np.asarray((~missing).sum(0)),
    )


def paired_interval(changes: PairCells) -> tuple[Cells, Cells, Cells]:
    """Return low, high and effect size of each cell.

    Args:
        changes: (pair, …); pairs that are NaN are left out of a cell.
    """
    flat = changes.reshape(len(changes), -1)
    result = np.full((3, flat.shape[1]), np.nan)
    there = ~np.isnan(flat)
    alike: dict[bytes, list[int]] = {}
    for cell, pairs in enumerate(there.T):
        alike.setdefault(np.packbits(pairs).tobytes(), []).append(cell)
    for cells in alike.values():
        for start in range(0, len(cells), CHUNK):
            selected = np.array(cells[start : start + CHUNK])
            result[:, selected] = _of_complete(flat[np.ix_(there[:, cells[0]], selected)])
    low, high, effect = (values.reshape(changes.shape[1:]) for values in result)
    return low, high, effect


def _of_complete(changes: Numbers) -> Numbers:
    """Return (3, cell): low, high, effect size of (pair, cell) without NaN."""
    count = len(changes)
    if count < 2:  # noqa: PLR2004 - one pair has no spread
        still = np.where((changes == 0).all(0), 0.0, np.nan)
        return np.stack([np.full_like(still, np.nan)] * 2 + [still])
    mean = changes.mean(0)
    spread = np.where((changes == changes[0]).all(0), 0.0, changes.std(0, ddof=1))
    varies = spread > 0
    scale = np.where(varies, spread, 1.0)
    effect = np.where(varies, mean / scale, np.where(mean == 0, 0.0, np.nan))
    if count < FEWEST:
        return np.stack([np.full_like(mean, np.nan)] * 2 + [effect])
    lower, upper = np.where(varies, _tails((changes - mean) / scale), 0.0)
    error = spread / np.sqrt(count)
    return np.stack([mean - upper * error, mean - lower * error, effect])


def _tails(standard: Numbers) -> Numbers:
    """Return (2, cell): what t* is below, and above, in half of the cases outside `LEVEL`."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    reach = stdtrit(len(standard) - 1, (1 + LEVEL) / 2)  # of Student's t
    tails = np.repeat([[-reach], [reach]], standard.shape[1], axis=1)
    different = 1 + (np.diff(np.sort(standard, 0), axis=0) > ALIKE).sum(0)
    many = different >= DIFFERENT
    tails[:, many] = _quantiles(standard[:, many])
    return tails


def _quantiles(standard: Numbers) -> Numbers:
    """Return (2, cell): the two quantiles of t* for pairs of mean 0 and spread 1."""
    t = np.concatenate([_studentised(weights, standard) for weights in _draws(len(standard))])
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
