"""A ratio of two means of the same pairs, with its interval: how much of an effect is left.

Definitions, for n pairs that have both numbers a and b, with means A and B:

- ratio     A / B; unknown where B is 0.
- interval  Fieller's, 95 %: all r for which Student's interval of a - r b over the pairs holds 0.
            With t its quantile and v the variances and the covariance of the means, these are the r
            of (B² - t² v_b) r² - 2 (A B - t² v_ab) r + A² - t² v_a ≤ 0.

Where the interval of B holds 0, no ratio is too far out: then the set has no end on one side or on
both, and only `least` is told, how large the ratio is at least, whatever its sign.

Source: Fieller 1954, Some problems in interval estimation, J. R. Stat. Soc. B 16, 175-185. It is
exact for pairs of normal numbers; the ratio of two intervals' ends is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attn.analysis.compare.paired import FEWEST, LEVEL
from attn.shapes import PairRow


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means.

    Attributes:
        value: NaN where the second mean is 0.
        low: lower end of the interval; NaN with fewer than four pairs, or where it has no end.
        high: upper end, likewise.
        least: smallest absolute value in the interval; 0 if it holds 0, NaN with too few pairs.
        n: pairs that have both.
    """

    value: float
    low: float
    high: float
    least: float
    n: int

    @property
    def is_bounded(self) -> bool:
        """Whether it has an interval with two ends."""
        return math.isfinite(self.low)

    @property
    def size(self) -> Ratio:
        """The same of absolute values."""
        ends = sorted((abs(self.low), abs(self.high)))
        low = 0.0 if self.low < 0 < self.high else ends[0]
        return Ratio(abs(self.value), low, ends[1], self.least, self.n)


def ratio_of_means(first: PairRow, second: PairRow) -> Ratio:
    """Compare two numbers of the same pairs.

    Args:
        first: a of each pair; NaN where there is none.
        second: b.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    a, b = first[both], second[both]
    count = len(a)
    nan = math.nan
    if count == 0 or b.mean() == 0:
        return Ratio(nan, nan, nan, nan, count)
    value = float(a.mean() / b.mean())
    if count < FEWEST:
        return Ratio(value, nan, nan, nan, count)
    return Ratio(value, *_fieller(a, b), count)


def _fieller(a: PairRow, b: PairRow) -> tuple[float, float, float]:
    """Return low, high and the smallest absolute value of the interval."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    count = len(a)
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) ** 2 / count
    (of_a, of_ab), (_, of_b) = reach * np.cov(a, b)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    square, half, rest = mean_b**2 - of_b, mean_a * mean_b - of_ab, mean_a**2 - of_a
    inside = half**2 - square * rest
    if inside < 0 and square > 0:  # of numbers that do not vary, up to rounding
        inside = 0.0
    if inside < 0 or square == 0:
        return math.nan, math.nan, 0.0
    root = math.sqrt(inside)
    low, high = sorted(((half - root) / square, (half + root) / square))
    nearest = min(abs(low), abs(high))
    if square < 0:  # all but what is between the two
        return math.nan, math.nan, nearest if low < 0 < high else 0.0
    return low, high, 0.0 if low <= 0 <= high else nearest
