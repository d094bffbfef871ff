"""The protocol of ImageNet-Segmentation, against its steps done one by one in pixels."""

import numpy as np
import pytest

from attn.analysis.scores.localise import average_precision
from attn.analysis.scores.segmentation import Tally, segment
from attn.errors import AnalysisError


def mask(rows, columns, top, left):
    values = np.zeros((rows, columns), bool)
    values[:top, :left] = True
    return values


CASES = [
    (np.random.default_rng(3).random((7, 14)), mask(56, 112, 24, 40)),
    (np.random.default_rng(4).integers(0, 3, (5, 3)).astype(float), mask(300, 180, 200, 90)),
]


def by_hand(heat, truth):
    """Return the eight sums of one picture, pixel by pixel at 224x224."""
    from PIL import Image

    def enlarge(values):
        rows, columns = (np.arange(224) * size // 224 for size in values.shape)
        return values[np.ix_(rows, columns)]

    marked, scaled = enlarge(heat > heat.mean()), enlarge(heat)
    image = Image.fromarray(truth.astype(np.uint8)).resize((224, 224), Image.Resampling.NEAREST)
    truth = np.asarray(image).astype(bool)
    scaled = (scaled - heat.min()) / (heat.max() - heat.min())
    ranked = np.concatenate([1 - scaled.ravel(), scaled.ravel()])
    hits = np.concatenate([~truth.ravel(), truth.ravel()])
    sides = [(~marked, ~truth), (marked, truth)]
    overlaps = [number for a, b in sides for number in ((a & b).sum(), (a | b).sum())]
    return [(marked == truth).sum(), 224**2, *overlaps, average_precision(ranked, hits), 1]


@pytest.mark.parametrize(("heat", "truth"), CASES)
def test_sums_are_those_of_the_pixels(heat, truth):
    """Threshold at the mean, nearest to 224, both classes, symmetric precision; ties included."""
    np.testing.assert_allclose(segment(heat, truth).counts, by_hand(heat, truth), rtol=1e-12)


def test_averaging_is_micro():
    """Numbers of a set come of sums over its pictures; only precision is a mean over them."""
    sums = np.array([segment(*case).counts for case in CASES])
    accuracy, miou, precision = Tally(sums.sum(0)).measures()
    right, pixels, outer, outer_union, inner, inner_union, found, maps = sums.sum(0)
    assert accuracy == right / pixels
    assert miou == (outer / outer_union + inner / inner_union) / 2
    assert precision == found / maps == sums[:, 6].mean()


def test_flat_map_is_all_background():
    """Nothing is above the mean of a flat map, and its ranking is chance."""
    truth = mask(224, 224, 56, 224)
    accuracy, miou, precision = segment(np.ones((3, 5)), truth).measures()
    assert (accuracy, miou, precision) == (0.75, 0.375, 0.5)


def test_mask_that_fills_the_picture_is_refused():
    """Without object or background there is no intersection to be over a union."""
    with pytest.raises(AnalysisError, match="whole picture"):
        segment(np.ones((3, 5)), np.ones((9, 7), bool))
