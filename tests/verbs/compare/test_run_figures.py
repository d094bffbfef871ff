"""Figures of one run of a comparison."""

import numpy as np
import pytest

from attn.verbs.compare.run_figures import _gallery
from attn.viz.compare.comparison_scene import SceneSide
from attn.viz.strokes import NAMED, trace_lines
from attn.viz.words.run_figures import RunWords

GRID = (7, 11)


@pytest.mark.parametrize("is_drawn", [True, False])
def test_strokes_of_a_gallery(is_drawn):
    """Over the map of every word lie the strokes of the run's drawing, and the page names them."""
    strokes = np.zeros((22, 35), bool)
    strokes[5, 4:30] = is_drawn
    maps = np.random.default_rng(3).random((2, *GRID))
    side = SceneSide("ring", None, maps, strokes=trace_lines(strokes))
    run = RunWords(side, ["red", "cat"], [0.1, 0.2], np.zeros(GRID, int), [0, 1], "lift", "a", "b")
    figure = _gallery(run, "shared")
    lines = [len(axes.collections) for axes in figure.axes if axes.images]
    assert all(lines) == is_drawn
    assert any(NAMED in text.get_text() for text in figure.texts) == is_drawn
