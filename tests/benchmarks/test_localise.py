import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attn.errors import AnalysisError
from benchmarks.scoring.localise import bootstrap, centre_blob, coarsen, score, whole_picture

REGION = np.zeros((5, 7), bool)
REGION[1:3, 2:5] = True
HEATS = arrays(np.float64, (5, 7), elements=st.integers(0, 6).map(float))
REGIONS = arrays(bool, (5, 7)).filter(lambda region: region.any() and not region.all())


def test_a_heatmap_that_is_the_region_is_perfect():
    """The best possible heatmap reaches 1 in every score."""
    got = score(REGION.astype(float) * 3 - 1, REGION)
    assert (got.pointing, got.iou, got.precision) == (1, 1, 1)


def test_a_heatmap_that_points_away_is_seen():
    """A word that marks the background scores 0 and below chance, not "no result"."""
    got = score(1 - REGION.astype(float), REGION)
    area = REGION.mean()
    assert (got.pointing, got.iou) == (0, 0)
    assert got.precision == pytest.approx(area)


def test_worked_example():
    """The three scores agree with numbers worked out by hand."""
    heat = np.array([[9.0, 8, 7], [5, 4, 0]])
    truth = np.array([[True, False, True], [False, False, False]])
    got = score(heat, truth)
    assert got.pointing == 1
    assert got.iou == pytest.approx(2 / 4)  # 9, 8, 7 and 5 are at least half of 9
    assert got.precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@given(REGIONS)
def test_knowing_nothing_is_chance(region):
    """The whole picture scores the region's area everywhere, so chance needs no simulation."""
    got = score(whole_picture((5, 7)), region)
    assert got.pointing == pytest.approx(region.mean())
    assert got.iou == pytest.approx(region.mean())
    assert got.precision == pytest.approx(region.mean())


@given(HEATS, REGIONS)
def test_scores_do_not_depend_on_scale(heat, region):
    """Attention is small: scores see only the order and the range of a heatmap."""
    item, other = score(heat, region), score(heat * 2.0**-20 - 3, region)
    assert item == other
    assert min(item.pointing, item.iou, item.precision) >= 0
    assert max(item.pointing, item.iou, item.precision) <= 1


@given(HEATS, REGIONS)
def test_precision_is_its_definition(heat, region):
    """Ties count as one threshold, as in the definition, whatever order sorting leaves them in."""
    recalled, total = 0.0, 0.0
    for threshold in sorted(set(heat.ravel()), reverse=True):
        marked = heat >= threshold
        recall = (marked & region).sum() / region.sum()
        total += (recall - recalled) * (marked & region).sum() / marked.sum()
        recalled = recall
    assert score(heat, region).precision == pytest.approx(total)


def test_centre_blob_points_to_the_middle():
    """The baseline of the centre has its one maximum there, and treats the sides alike."""
    blob = centre_blob((5, 7))
    assert np.unravel_index(blob.argmax(), blob.shape) == (2, 3)
    assert np.array_equal(blob, blob[::-1, ::-1])


def test_coarse_regions_keep_their_half_covered_places():
    """A place belongs to a region if at least half of it does, whatever the factor."""
    fine = np.zeros((6, 10), bool)
    fine[:2, :5] = True
    assert np.array_equal(coarsen(fine, (3, 2)), [[True, False], [False, False], [False, False]])
    fine[2, :5] = True
    assert coarsen(fine, (3, 2))[1, 0]


def test_small_regions_do_not_vanish():
    """An object smaller than half a place still has a place to be found in."""
    fine = np.zeros((6, 10), bool)
    fine[3, 7] = True
    assert np.array_equal(np.argwhere(coarsen(fine, (3, 2))), [[1, 1]])


def test_intervals_cover_the_truth_as_often_as_they_say():
    """About 95 of 100 intervals hold the true mean: an interval is not decoration."""
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        interval = bootstrap(rng.random(60) < 0.8, seed=trial, resamples=400)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_intervals_leave_out_what_is_unknown():
    """A picture without the object counts in no mean, and in no number of pictures."""
    got = bootstrap([0.25, float("nan"), 0.75])
    assert (got.mean, got.n) == (0.5, 2)
    assert 0.25 <= got.low <= got.mean <= got.high <= 0.75
    assert bootstrap([0.25, 0.75, 1]) == bootstrap([0.25, 0.75, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score(np.ones((2, 3)), np.ones((3, 2))), r"heatmap is \(2, 3\)"),
        (lambda: score(np.full((5, 7), np.nan), REGION), "not numbers"),
        (lambda: score(np.ones((5, 7)), np.zeros((5, 7))), "empty"),
        (lambda: score(np.ones((5, 7)), np.ones((5, 7))), "whole picture"),
        (lambda: coarsen(REGION, (2, 7)), "no multiple"),
        (lambda: bootstrap([float("nan")]), "no values"),
    ],
)
def test_nonsense_is_refused(call, message):
    """A score that cannot be computed is an error that says why, never a number."""
    with pytest.raises(AnalysisError, match=message):
        call()
