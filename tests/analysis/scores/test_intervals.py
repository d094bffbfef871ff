"""Bootstrap over pictures."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from attn.analysis.scores.intervals import estimate, mean_of


def test_intervals_cover_the_truth_as_often_as_they_say():
    """About 95 of 100 intervals hold the true mean: an interval is not decoration."""
    values = (np.random.default_rng(5).random((60, 300)) < 0.8).astype(float)
    got = estimate(mean_of(values), 60)
    covered = (got.low <= 0.8) & (got.high >= 0.8)
    assert 0.90 <= covered.mean() <= 0.98


def test_interval_is_that_of_scipy():
    """Percentiles of means of resampled pictures, up to the draws."""
    values = np.random.default_rng(1).random(37)
    got = estimate(mean_of(values[:, None]), 37)
    expected = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    interval = expected.confidence_interval
    assert [got.low[0], got.high[0]] == pytest.approx([interval.low, interval.high], abs=0.01)


def test_intervals_leave_out_what_is_unknown():
    """A picture without the object counts in no mean; one that no draw has is no gap."""
    values = np.array([[0.25, np.nan], [np.nan, np.nan], [0.75, 1.0], [0.75, np.nan], [0.5, 1.0]])
    got = estimate(mean_of(values), 5)
    assert got.mean.tolist() == [0.5625, 1.0]
    assert 0.25 <= got.low[0] <= got.mean[0] <= got.high[0] <= 0.75
    assert (got.low[1], got.high[1]) == (1.0, 1.0)


def test_few_pictures_have_no_interval():
    """Three pictures say nothing of how far their mean may be off."""
    got = estimate(mean_of(np.ones((3, 2))), 3)
    assert got.mean.tolist() == [1, 1]
    assert np.isnan([got.low, got.high]).all()
