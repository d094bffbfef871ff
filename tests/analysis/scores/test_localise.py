"""Scores of one map: worked examples, ties, chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attn.analysis.scores.localise import daam_overlap, score
from attn.analysis.scores.regions import centre_blob, coarsen, whole_picture
from attn.errors import AnalysisError

REGION = np.zeros((5, 7), bool)
REGION[1:3, 2:5] = True
HEATS = arrays(np.float64, (5, 7), elements=st.integers(0, 6).map(float))
REGIONS = arrays(bool, (5, 7)).filter(lambda region: region.any() and not region.all())
NAMES = {"pointing", "energy", "iou@0.3", "iou@0.5", "iou@0.7", "precision"}


def test_a_heatmap_that_is_the_region_is_perfect():
    """The best possible heatmap reaches 1 in every score."""
    assert score(REGION.astype(float) * 3, REGION) == dict.fromkeys(NAMES, 1)


def test_a_heatmap_that_points_away_is_seen():
    """A word that marks the background scores 0 and below chance, not "no result"."""
    scores = score(1 - REGION.astype(float), REGION)
    assert {scores[name] for name in NAMES - {"precision"}} == {0}
    assert scores["precision"] == pytest.approx(REGION.mean())


def test_worked_example():
    """The scores agree with numbers worked out by hand, ties included."""
    heat = np.array([[9.0, 8, 9], [5, 4, 0]])
    truth = np.array([[True, False, False], [True, False, False]])
    scores = score(heat, truth, (0.5, 0.9))
    assert scores["pointing"] == 1 / 2  # one of the two largest values
    assert scores["energy"] == 14 / 35
    assert scores["iou@0.5"] == pytest.approx(2 / 4)  # 9, 8, 9 and 5 are at least half of 9
    assert scores["iou@0.9"] == pytest.approx(1 / 3)
    assert scores["precision"] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 4)


@given(REGIONS)
def test_knowing_nothing_is_chance(region):
    """The whole picture scores the region's area everywhere, so chance needs no simulation."""
    scores = score(whole_picture((5, 7)), region)
    assert list(scores.values()) == pytest.approx([region.mean()] * len(NAMES))
    assert daam_overlap(whole_picture((5, 7)), region) == pytest.approx(region.mean())


@given(HEATS, REGIONS)
def test_scores_do_not_depend_on_scale(heat, region):
    """Attention is small: scores see only proportions of a heatmap."""
    scores = score(heat, region)
    assert scores == score(heat * 2.0**-20, region)
    assert all(0 <= value <= 1 for value in scores.values())


@given(HEATS, REGIONS)
def test_precision_is_its_definition(heat, region):
    """Ties count as one threshold, as in the definition, whatever order sorting leaves them in."""
    recalled, total = 0.0, 0.0
    for threshold in sorted(set(heat.ravel()), reverse=True):
        marked = heat >= threshold
        recall = (marked & region).sum() / region.sum()
        total += (recall - recalled) * (marked & region).sum() / marked.sum()
        recalled = recall
    assert score(heat, region)["precision"] == pytest.approx(total)


def test_overlap_of_daam():
    """The map goes to the mask's pixels as torch resizes, and is cut at 0.4 of its range."""
    import torch

    heat, mask = np.random.default_rng(2).random((3, 5)), np.zeros((11, 13), bool)
    mask[2:7, 3:11] = True
    large = torch.nn.functional.interpolate(
        torch.tensor(heat)[None, None], size=mask.shape, mode="bicubic"
    )[0, 0]
    marked = ((large - large.min()) / (large.max() - large.min()) > 0.4).numpy()
    expected = (marked & mask).sum() / ((marked | mask).sum() + 1e-8)
    assert daam_overlap(heat, mask) == pytest.approx(expected, abs=1e-12)


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
    assert np.array_equal(coarsen(fine, (4, 3)).sum(1), [2, 2, 0, 0])


def test_small_regions_do_not_vanish():
    """An object smaller than half a place still has a place to be found in."""
    fine = np.zeros((6, 10), bool)
    fine[3, 7] = True
    assert np.array_equal(np.argwhere(coarsen(fine, (3, 2))), [[1, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score(np.ones((2, 3)), np.ones((3, 2))), r"heatmap is \(2, 3\)"),
        (lambda: score(np.full((5, 7), np.nan), REGION), "not numbers"),
        (lambda: score(np.ones((5, 7)), np.zeros((5, 7))), "empty"),
        (lambda: score(np.ones((5, 7)), np.ones((5, 7))), "whole picture"),
    ],
)
def test_nonsense_is_refused(call, message):
    """A score that cannot be computed is an error that says why, never a number."""
    with pytest.raises(AnalysisError, match=message):
        call()
