"""A sweep as curves."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare.changes import TermChange
from attn.analysis.compare.paired import paired_change
from attn.analysis.compare.sweep import Sweep, SweepPoint
from attn.analysis.compare.terms import Term
from attn.analysis.tables import make_table
from attn.viz.compare.comparison_scene import ComparisonScene
from attn.viz.compare.sweep_curves import draw_sweep

SCALES = (0.5, 2.0)


def draw(count, works=None):
    """Draw a sweep of so many images at each scale."""
    rng = np.random.default_rng(3)
    points = []
    for scale in SCALES:
        base = 0.1 + rng.random(count) / 100
        term = Term("clip", "word", "cat", 1, False, (("clip", 1),))
        change = paired_change(base, base + scale / 10 + rng.random(count) / 100)
        levels = {("a cat", seed, 0): 3 * scale + rng.random() for seed in range(count)}
        other = replace(term, text="sky")
        small = paired_change(base / 50, (base - base * scale / 4) / 50)
        changes = [TermChange(term, change), TermChange(other, small)]
        points.append(SweepPoint(f"style:{scale}", scale, changes, levels))
    lows = [float(point.changes[0].change.low) for point in points]
    table = make_table({"low": lows, "level_low": lows})
    word = points[-1].changes[0]
    every = tuple(points)
    sweep = Sweep("LoRA style", 0.0, every, every, word, works, works, None, table, unit="scale")
    return draw_sweep(ComparisonScene("a cat", "toy", [], [], [], {}), sweep).figure, points


@pytest.mark.parametrize(
    ("count", "works", "told"),
    [
        (5, 2.0, ["works from scale 2", "breaks nowhere", "visible from scale 2"]),
        (5, None, ["works nowhere", "breaks nowhere", "not shown to be visible"]),
        (3, None, ["works: too few images to tell", "breaks: too few images to tell", ""]),
    ],
)
def test_curves(count, works, told):
    """Curves go from the baseline through the means; marks say what is shown, or cannot be."""
    figure, points = draw(count, works)
    word, images, rest = figure.axes[:3]
    for axes, at in ((word, 0), (rest, 1)):
        changes = [point.changes[at].change for point in points]
        parts = [0.0, *(float(entry.change / entry.base) for entry in changes)]
        assert axes.lines[0].get_xydata().tolist() == np.transpose([(0, *SCALES), parts]).tolist()
    assert rest.get_ylim()[0] < -0.5 < 0 < rest.get_ylim()[1] < 0.5  # an axis of its own
    levels = [np.mean(list(point.levels.values())) for point in points]
    np.testing.assert_allclose(images.lines[0].get_ydata(), [0, *levels])
    marks = [[text.get_text() for text in axes.texts] for axes in (word, images, images)]
    assert all(mark in texts for mark, texts in zip(told, marks, strict=True))
    assert images.get_ylim()[0] == 0
    numbers = [images.yaxis.get_major_formatter()(level) for level in (0, 2.5)]
    assert numbers == ["0", "2.5"]
    assert ("band: 95 % interval" in figure.texts[1].get_text()) == (count > 3)
