"""Means with bootstrap intervals over pictures (Efron 1979, percentiles).

Pictures are drawn with replacement, all numbers of a picture together: so ratios of sums and
differences have intervals, too. The same pictures give the same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attn.analysis.numbers import Numbers

LEVEL = 0.95
RESAMPLES = 2000
FEWEST = 4
"""Fewer pictures have no interval worth a number."""


Statistic = Callable[[Numbers], Numbers]
"""Of weights, (draw, picture): how often each picture counts. The result has the draws first."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Numbers with their intervals; arrays of one shape, NaN where nothing is known."""

    mean: Numbers
    low: Numbers
    high: Numbers


def estimate(statistic: Statistic, pictures: int) -> Estimates:
    """Return a statistic of pictures with its interval.

    Args:
        statistic: what is estimated.
        pictures: how many.
    """
    mean = statistic(np.ones((1, pictures)))[0]
    if pictures < FEWEST:
        return Estimates(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    drawn = statistic(draw_weights(pictures))
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    has_gaps = np.isnan(drawn).any(0)
    low, high = np.quantile(np.where(has_gaps, 0.0, drawn), ends, axis=0)
    for cell in zip(*np.nonzero(has_gaps), strict=True):
        present = drawn[:, *cell][~np.isnan(drawn[:, *cell])]
        low[cell], high[cell] = np.quantile(present, ends) if len(present) else (np.nan, np.nan)
    return Estimates(mean, low, high)


def mean_of(values: Numbers) -> Statistic:
    """Return the statistic that is the mean over pictures.

    Args:
        values: (picture, cell); NaN does not count.
    """
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)

    def statistic(weights: Numbers) -> Numbers:
        counts = weights @ present
        known = np.where(counts > 0, counts, np.nan)
        return np.asarray(weights @ filled / known)

    return statistic


def draw_weights(pictures: int) -> Numbers:
    """Return (draw, picture): how often each picture is in each draw, always the same."""
    drawn = np.random.default_rng(0).integers(pictures, size=(RESAMPLES, pictures))
    places = drawn + np.arange(RESAMPLES)[:, np.newaxis] * pictures
    hits = np.bincount(places.ravel(), minlength=RESAMPLES * pictures)
    return hits.reshape(RESAMPLES, pictures).astype(np.float64)
