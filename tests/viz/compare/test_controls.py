"""Figures of controls: which part carries the effect, and images without the trigger words."""

import numpy as np
import pytest

from attn.viz.compare.comparison_scene import SceneSide
from attn.viz.compare.leak_sheet import draw_leak
from attn.viz.compare.null_effects import EffectBar, EffectPanel, draw_null
from attn.viz.compare.pair_sheet import shrink_pair
from attn.viz.compare.part_effects import carriers, draw_parts

UNKNOWN = float("nan")


def row(part, kind, ratio, low, high, measure="word"):
    """Return a row of `parts.csv`."""
    names = {"part": part, "kohya": "OUT07" if part == "up" else "", "kind": kind}
    return names | {
        "measure": measure, "word": "cat", "ratio": ratio, "low": low, "high": high,
    }  # fmt: skip


ROWS = [
    row("up", "alone", 0.8, 0.7, 0.9),
    row("mid", "alone", UNKNOWN, UNKNOWN, UNKNOWN),
    row("up", "without", 0.3, 0.2, 0.4),
    row("mid", "without", 1.02, 0.9, 1.1),
    row("up", "without", 0.5, 0.1, 0.9, "level"),
]


def test_parts():
    """A bar is as long as what a part gives, or what is lost without it; what is unknown none."""
    figure = draw_parts(ROWS, ("a cat", "about"), "parts.png", {}).figure
    word, level = figure.axes[:2]
    assert [bar.get_width() for bar in word.patches[1:]] == pytest.approx([80, 70, -2])
    assert [bar.get_width() for bar in level.patches] == pytest.approx([50])
    assert [
        axes.get_xlabel().endswith("grey: most is lost without it") for axes in (word, level)
    ] == [True, False]
    assert [label.get_text() for label in word.get_yticklabels()] == ["up · OUT07", "mid"]


@pytest.mark.parametrize(
    ("ends", "parts"),
    [((0.1, 0.49), ["up"]), ((0.1, 0.51), []), ((0.6, 0.7), []), ((UNKNOWN, UNKNOWN), [])],
)
def test_carriers(ends, parts):
    """A part is marked only where the interval of what is left without it is below one half."""
    assert carriers([row("up", "without", 0.3, *ends), row("mid", "alone", 0.1, 0, 0.2)]) == parts


def test_leak():
    """A row has the images of a seed with the words at the left, without them at the right."""
    images = [np.full((13, 17, 3), value, np.uint8) for value in (10, 20, 30, 40)]
    pairs = [shrink_pair(name, "level 3", tuple(images[at : at + 2])) for name, at in
             (("with cat · seed 5", 0), ("without cat · seed 5", 2))]  # fmt: skip
    figure = draw_leak([tuple(pairs)], ("a cat", "about"), "leak.png", {}).figure
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert [(of[0, 0, 0], of[0, -1, 0]) for of in shown] == [(10, 20), (30, 40)]


def test_null():
    """Each effect is a bar as long as its mean, with a dot for each image, below its factor."""
    bars = [EffectBar("cat", [3.0, 5.0], False), EffectBar("cat", [-1.0, 2.0], True)]
    panels = [EffectPanel("attention", "8× (7 to 9)", "%", bars)]
    sides = [SceneSide(name, np.zeros((13, 17, 3), np.uint8), None) for name in ("base", "a", "r")]
    figure = draw_null(sides, panels, ("it is 8×", "about"), "null.png", {}).figure
    axes = figure.axes[3]
    assert [bar.get_width() for bar in axes.patches] == [4, 0.5]
    assert [list(dots.get_offsets()[:, 0]) for dots in axes.collections] == [[3, 5], [-1, 2]]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("“cat” by LoRA", "“cat” by random"),
    ]
    assert {text.get_text() for text in axes.texts} == {"attention", "8× (7 to 9)"}
