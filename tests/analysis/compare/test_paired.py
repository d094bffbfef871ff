"""Means of paired changes, their intervals and effect sizes."""

import numpy as np
import pytest

from attn.analysis.compare.paired import FEWEST, RESAMPLES, paired_change, paired_interval

RNG = np.random.default_rng(3)


def plain_interval(changes):
    """Return the bootstrap-t interval of one cell, draw by draw."""
    count = len(changes)
    mean, spread = changes.mean(), changes.std(ddof=1)
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    samples = changes[draws]
    with np.errstate(divide="ignore"):
        t = (samples.mean(1) - mean) / (samples.std(1, ddof=1) / np.sqrt(count))
    t.sort()
    tail = round(0.025 * RESAMPLES)
    error = spread / np.sqrt(count)
    return mean - t[RESAMPLES - 1 - tail] * error, mean - t[tail] * error


def test_interval():
    """Low and high are those of the definition, cell by cell."""
    changes = RNG.gamma(2, size=(11, 3))
    low, high, _ = paired_interval(changes)
    for cell in range(3):
        assert (low[cell], high[cell]) == pytest.approx(plain_interval(changes[:, cell]))


STUDENT = {4: 3.18245, 5: 2.77645, 6: 2.57058, 7: 2.44691, 16: 2.13145, 61: 2.00030}
"""97.5 % quantile by the number of pairs, from a printed table."""


@pytest.mark.parametrize("count", STUDENT)
def test_few_different_changes(count):
    """Seven changes that differ, however often, are too few to draw from: Student's interval."""
    changes = np.resize(RNG.gamma(2, size=7), count)
    low, high, _ = paired_interval(changes[:, np.newaxis])
    reach = STUDENT[count] * changes.std(ddof=1) / np.sqrt(count)
    expected = changes.mean() - reach, changes.mean() + reach
    assert (low[0], high[0]) == pytest.approx(expected, rel=1e-5)


def test_near_changes():
    """Four pairs that agree have a narrow interval, also if two are almost equal."""
    low, high, _ = paired_interval(np.array([[1.0], [1.000001], [1.04], [1.05]]))
    assert 0.9 < low[0] < high[0] < 1.2


@pytest.mark.parametrize("others", range(1, 12))
def test_equal_changes(others):
    """Where most pairs did not change at all, both ends are numbers."""
    changes = np.zeros((40, 1))
    changes[:others, 0] = RNG.normal(size=others)
    assert np.isfinite(paired_interval(changes)[:2]).all()


def test_numbers():
    """Means, relative change and effect size are plain arithmetic."""
    base, variant = RNG.random((5, 2)), RNG.random((5, 2))
    result = paired_change(base, variant)
    changes = variant - base
    np.testing.assert_allclose(result.base, base.mean(0))
    np.testing.assert_allclose(result.variant, variant.mean(0))
    np.testing.assert_allclose(result.change, changes.mean(0))
    np.testing.assert_allclose(result.relative, changes.mean(0) / base.mean(0))
    np.testing.assert_allclose(result.effect_size, changes.mean(0) / changes.std(0, ddof=1))
    assert result.n.tolist() == [5, 5]


@pytest.mark.parametrize("count", [1, 2, 16])
def test_nothing_changed(count):
    """Equal pairs give exactly 0, without a warning of a division."""
    same = RNG.random((count, 3))
    result = paired_change(same, same.copy())
    assert (result.change == 0).all()
    assert (result.effect_size == 0).all()
    if count >= FEWEST:
        assert (result.low == 0).all()
        assert (result.high == 0).all()


def test_the_same_change_everywhere():
    """Without a spread the interval is the change, and an effect size has no meaning."""
    result = paired_change(np.zeros((6, 1)), np.ones((6, 1)))
    assert (result.low[0], result.high[0], result.change[0]) == (1, 1, 1)
    assert np.isnan(result.effect_size[0])


def test_base_of_zero():
    """A relative change of nothing is unknown, not infinite."""
    assert np.isnan(paired_change(np.zeros((4, 1)), np.ones((4, 1))).relative[0])


def test_few_pairs():
    """Below four pairs there is no interval."""
    low, high, effect = paired_interval(RNG.random((3, 2)))
    assert np.isnan([low, high]).all()
    assert np.isfinite(effect).all()


def test_missing_pairs():
    """Pairs without a cell count neither in its mean nor in its number."""
    base, variant = RNG.random((6, 2)), RNG.random((6, 2))
    variant[1, 0] = np.nan
    result = paired_change(base, variant)
    kept = [0, 2, 3, 4, 5]
    assert result.n.tolist() == [5, 6]
    alone = paired_change(base[kept, :1], variant[kept, :1])
    assert result.low[0] == alone.low[0]
    assert result.base[0] == pytest.approx(base[kept, 0].mean())


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, size: rng.normal(size=size),
        lambda rng, size: rng.gamma(2, size=size) - 2,
        lambda rng, size: rng.standard_t(3, size),
    ],
    ids=["normal", "skewed", "heavy tails"],
)
@pytest.mark.parametrize("count", [4, 8, 16])
def test_coverage(draw, count):
    """Where nothing changed but the noise, the interval covers 0 in 90 to 99 of 100 comparisons."""
    changes = draw(np.random.default_rng(7), (count, 1000))
    low, high, _ = paired_interval(changes)
    assert 0.90 <= ((low <= 0) & (high >= 0)).mean() <= 0.99
