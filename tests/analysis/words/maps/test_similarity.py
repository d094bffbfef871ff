"""How alike two maps are."""

import numpy as np
import pytest

from attn.analysis.words.maps.similarity import MEASURES, centre, compare_maps

RNG = np.random.default_rng(5)


def compare(base, variant, aspect=1.0):
    """Return the measures of two maps by name."""
    return dict(zip(MEASURES, compare_maps(base, variant, aspect).tolist(), strict=True))


def test_equal_maps():
    """A map is exactly like itself."""
    maps = RNG.random((3, 5, 7))
    result = compare_maps(maps, maps.copy(), 0.6)
    assert result.tolist() == [[1, 0, 1, 0, 0, 0]] * 3


def test_formulas():
    """Correlation and divergence are those of scipy, overlap is counted by hand."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import pearsonr

    base, variant = RNG.random((5, 7)), RNG.random((5, 7))
    result = compare(base, variant)
    assert result["correlation"] == pytest.approx(pearsonr(base.ravel(), variant.ravel())[0])
    distance = jensenshannon(base.ravel(), variant.ravel(), base=2)
    assert result["divergence"] == pytest.approx(distance**2)
    first, second = (set(np.argsort(-item.ravel())[:7].tolist()) for item in (base, variant))
    assert result["iou"] == pytest.approx(len(first & second) / len(first | second))


def test_disjoint_maps():
    """Maps that share no place are one bit apart."""
    base, variant = np.zeros((2, 3, 5))
    base[0, 0], variant[2, 4] = 1, 1
    assert compare(base, variant)["divergence"] == pytest.approx(1)


def test_shift():
    """A move by one row and two columns is told in fractions of the picture, down and right."""
    base, variant = np.zeros((2, 4, 10))
    base[1, 3], variant[2, 5] = 1, 1
    result = compare(base, variant, aspect=0.4)
    assert result["shift_down"] == pytest.approx(1 / 4)
    assert result["shift_right"] == pytest.approx(2 / 10)
    assert result["distance"] == pytest.approx(np.hypot(0.4 / 4, 2 / 10))
    assert centre(base).tolist() == pytest.approx([1.5 / 4, 3.5 / 10])


def test_constant_and_missing_maps():
    """A constant map has no correlation; a missing one has nothing."""
    flat = compare(np.full((3, 5), 0.1), RNG.random((3, 5)))
    assert np.isnan(flat["correlation"])
    assert np.isfinite(flat["divergence"])
    missing = np.full((3, 5), np.nan)
    assert np.isnan(compare_maps(missing, missing, 1.0)).all()


def test_map_of_zeros():
    """A word that gets nothing has no divergence and no centre, and no division fails."""
    result = compare(np.zeros((3, 5)), RNG.random((3, 5)))
    assert np.isnan([result["divergence"], result["distance"]]).all()
