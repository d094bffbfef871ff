"""Ratios of two means of the same pairs, and Fieller's interval."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t as student

from attn.analysis.compare.controls.ratios import Ratio, ratio_of_means

RNG = np.random.default_rng(7)


def misses(rho, a, b):
    """Return how far Student's interval of a - rho b is from holding 0; negative if it does."""
    values = np.float64(a) - rho * np.float64(b)
    reach = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return abs(values.mean()) - reach


@pytest.mark.parametrize(("count", "factor"), [(4, 2.0), (7, -0.5), (16, 30.0)])
def test_interval(count, factor):
    """Its ends are where the interval of a - rho b begins to hold 0, found by search."""
    b = RNG.normal(5, 0.7, count)
    a = factor * b + RNG.normal(0, 0.3, count)
    result = ratio_of_means(a, b)
    assert (result.value, result.n) == (pytest.approx(a.mean() / b.mean()), count)
    step = abs(result.value) + 1
    low = brentq(misses, result.value - 9 * step, result.value, args=(a, b))
    high = brentq(misses, result.value, result.value + 9 * step, args=(a, b))
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))
    assert result.least == pytest.approx(min(abs(low), abs(high)))


def test_no_end():
    """Where the divisor may be 0 no ratio is too large, and the smallest one is told."""
    b = np.array([1.0, -1.2, 0.9, -0.6, 0.2])
    a = np.array([5.0, 5.3, 4.8, 5.1, 5.2])
    result = ratio_of_means(a, b)
    assert math.isnan(result.low) and math.isnan(result.high) and not result.is_bounded
    assert misses(result.least * 1.001, a, b) < 0 < misses(result.least * 0.999, a, b) or (
        misses(-result.least * 1.001, a, b) < 0 < misses(-result.least * 0.999, a, b)
    )


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], (0.5, None, None)),
        ([2.0] * 5, [4.0] * 5, (0.5, 0.5, 0.5)),
        ([1.0, 2.0, 3.0, 4.0], [0.0] * 4, (None, None, None)),
        ([], [], (None, None, None)),
        ([0.0] * 4, [1.0, 2.0, 3.0, 4.0], (0.0, 0.0, 0.0)),
    ],
)
def test_edges(a, b, expected):
    """Too few pairs have no interval, a divisor of 0 no ratio, and what never varies no width."""
    result = ratio_of_means(np.array(a, np.float64), np.array(b, np.float64))
    wanted = [math.nan if value is None else value for value in expected]
    np.testing.assert_allclose([result.value, result.low, result.high], wanted, atol=1e-7)


def test_missing():
    """A pair that lacks one of the two is left out."""
    result = ratio_of_means(np.array([1.0, math.nan, 3.0]), np.array([2.0, 5.0, math.nan]))
    assert (result.value, result.n) == (0.5, 1)


def test_size():
    """The size of a ratio has the interval of its absolute value."""
    assert Ratio(-3.0, -4.0, -2.0, 2.0, 5).size == Ratio(3.0, 2.0, 4.0, 2.0, 5)
    assert Ratio(-0.5, -1.0, 0.2, 0.0, 5).size == Ratio(0.5, 0.0, 1.0, 0.0, 5)
