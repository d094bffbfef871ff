"""The picture in equal cells."""

import numpy as np
import pytest

from attn.analysis.compare.terms import Term
from attn.analysis.words.maps.cells import cell_masses, cell_parts, tabulate_cells

WORDS = [Term("clip", "word", text, 1, False, ()) for text in ("cat", "hat")]


def test_masses():
    """A cell has the mean of what it covers, rows and columns in their order."""
    maps = np.arange(2 * 4 * 8, dtype=float).reshape(2, 4, 8)
    result = cell_masses(maps, 4)
    np.testing.assert_allclose(result, maps.reshape(2, 4, 4, 2).mean(3))
    np.testing.assert_allclose(cell_parts(result).sum((1, 2)), 1)


def test_cells_that_cut_places():
    """Places that lie in two cells count for both, and the mean stays."""
    maps = np.random.default_rng(0).random((2, 3, 5))
    np.testing.assert_allclose(cell_masses(maps, 4).mean((1, 2)), maps.mean((1, 2)), rtol=1e-6)


def test_table():
    """One row per word and cell, with whether the word is dominant there."""
    masses = np.array([[[1, 4], [2, 3]], [[2, 3], [2, 1]]], float)
    columns = tabulate_cells(masses, WORDS, "clip", np.array([[1, 0], [-1, 0]]))
    assert columns["word"].tolist() == ["cat"] * 4 + ["hat"] * 4
    assert columns["row"].tolist() == [0, 0, 1, 1] * 2
    assert columns["column"].tolist() == [0, 1, 0, 1] * 2
    assert columns["part"].tolist() == pytest.approx([0.1, 0.4, 0.2, 0.3, 0.25, 0.375, 0.25, 0.125])
    assert columns["dominant"].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
