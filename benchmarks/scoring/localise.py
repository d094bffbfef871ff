"""How well a heatmap finds a region that is known: scores, chance, silly baselines, intervals.

Definitions, for a heatmap H and the true region R on the same grid:

- pointing   1 if the largest value of H lies in R, else 0; of several equal largest values the
             part that lies in R. Zhang et al. 2018 (https://arxiv.org/abs/1608.00507), without
             their tolerance of 15 pixels around R.
- iou        places in both B and R / places in either, with B = places where H, scaled to 0–1
             between its least and its largest value, is at least `THRESHOLD`. A constant H marks
             the whole picture.
- precision  average precision of "is in R" ranked by H: Σₙ (recallₙ - recallₙ₋₁) · precisionₙ over
             the distinct values of H, largest first, as scikit-learn defines it.

What chance gives: for pointing and precision the area of R, for iou too (the whole picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attn.errors import AnalysisError

Numbers = NDArray[np.float64]
Region = NDArray[np.bool_]

THRESHOLD = 0.5


@dataclass(frozen=True)
class Score:
    """What one heatmap reaches on one region; all 0 to 1, more is better."""

    pointing: float
    iou: float
    precision: float


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval, and how many values it is of."""

    mean: float
    low: float
    high: float
    n: int


def score(heatmap: ArrayLike, region: ArrayLike) -> Score:
    """Compare a heatmap with the true region.

    Args:
        heatmap: (row, column), any scale.
        region: (row, column) of booleans, neither empty nor everything.

    Raises:
        AnalysisError: shapes differ, the heatmap is not finite, or there is nothing to find.
    """
    heat, truth = np.asarray(heatmap, np.float64), np.asarray(region, bool)
    if heat.shape != truth.shape:
        raise AnalysisError(f"the heatmap is {heat.shape}, the region {truth.shape}: resample one")
    if not np.isfinite(heat).all():
        raise AnalysisError("the heatmap has values that are not numbers")
    if truth.all() or not truth.any():
        raise AnalysisError("the region is empty, or is the whole picture: nothing to be found")
    return Score(_pointing(heat, truth), _iou(heat, truth), _precision(heat, truth))


def coarsen(region: ArrayLike, grid: tuple[int, int]) -> Region:
    """Bring a region to a coarser grid: a place belongs to it if at least half of its area does.

    A region too small for that keeps the places that it covers most.

    Args:
        region: (row, column) of booleans or of coverage 0 to 1; a multiple of the grid.
        grid: (rows, columns).

    Raises:
        AnalysisError: the picture is no multiple of the grid.
    """
    cover = np.asarray(region, np.float64)
    rows, columns = grid
    if cover.shape[0] % rows or cover.shape[1] % columns:
        raise AnalysisError(f"a region of {cover.shape} is no multiple of the grid {grid}")
    blocks = cover.reshape(rows, cover.shape[0] // rows, columns, cover.shape[1] // columns)
    share = blocks.mean((1, 3))
    enough = min(0.5, float(share.max()))
    return np.asarray((share >= enough) & (share > 0))


def whole_picture(grid: tuple[int, int]) -> Numbers:
    """Return the heatmap that knows nothing: equal everywhere."""
    return np.ones(grid)


def centre_blob(grid: tuple[int, int]) -> Numbers:
    """Return the heatmap that always points to the middle: a Gaussian, a quarter of a side wide."""
    rows, columns = ((np.arange(count) - (count - 1) / 2) * 4 / count for count in grid)
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns**2) / 2))


def bootstrap(
    values: Sequence[float] | Numbers, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean and its percentile bootstrap interval (Efron 1979).

    Args:
        values: one per independent picture; those that are not numbers are left out.
        level: coverage of the interval, 0 to 1.
        resamples: how often to draw.
        seed: of the draws; the same values give the same interval.

    Raises:
        AnalysisError: no value is left.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        raise AnalysisError("no values to take a mean of")
    draws = np.random.default_rng(seed).integers(known.size, size=(resamples, known.size))
    low, high = np.quantile(known[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), int(known.size))


def _pointing(heat: Numbers, truth: Region) -> float:
    return float(truth[heat == heat.max()].mean())


def _iou(heat: Numbers, truth: Region) -> float:
    spread = heat.max() - heat.min()
    marked = (heat - heat.min()) / spread >= THRESHOLD if spread else np.ones_like(truth)
    return float((marked & truth).sum() / (marked | truth).sum())


def _precision(heat: Numbers, truth: Region) -> float:
    order = np.argsort(-heat, axis=None, kind="stable")
    hits = truth.ravel()[order].cumsum()
    last = np.flatnonzero(np.diff(heat.ravel()[order], append=-np.inf))
    recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
    return float((np.diff(recall, prepend=0.0) * precision).sum())
