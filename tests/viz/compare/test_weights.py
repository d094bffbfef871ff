"""The chart of weights against attention."""

import numpy as np

from attn.analysis.compare.weights import WeightsAgainstAttention
from attn.analysis.tables import make_table
from attn.viz.compare.comparison_scene import POINTS
from attn.viz.compare.weights import draw_weights


def test_points():
    """There is a point per layer, and those that changed most have their names."""
    table = make_table(
        {
            "layer": np.arange(7) + 3,
            "layer_name": np.array([f"up.{level}" for level in range(7)], object),
            "kohya": np.array(["IN01"] * 6 + [""], object),
            "norm": np.arange(7.0),
            "change": np.arange(7.0) / 100,
        }
    )
    heading = ("a cat", "a.safetensors · 3 pairs")
    figure = draw_weights(WeightsAgainstAttention(table, 1.0, ()), heading, {}).figure
    (axes,) = figure.axes
    np.testing.assert_allclose(
        axes.collections[0].get_offsets(), np.stack([np.arange(7.0), np.arange(7.0)], 1)
    )
    assert [text.get_text() for text in axes.texts] == [
        *("up.6", "up.5 IN01", "up.4 IN01", "up.3 IN01", "up.2 IN01")
    ]
    assert [text.get_text() for text in figure.texts[:3]] == [
        "a cat",
        "a.safetensors · 3 pairs · one point per attention layer · named: the 5 that changed most",
        "correlation 1",
    ]
    assert axes.get_xlabel() == "|scale| · ‖ΔW‖ of the layer's modules"
    assert axes.get_ylabel() == f"mean absolute change of a word's mass, {POINTS}"


def test_nothing_changed():
    """At scale 0 all points are in the corner, where no numbers lie over each other."""
    nothing = {"layer": np.arange(3), "norm": np.zeros(3), "change": np.zeros(3)}
    weights = WeightsAgainstAttention(make_table(nothing), np.nan, ())
    figure = draw_weights(weights, ("a cat", "a:0"), {}).figure
    assert list(figure.axes[0].texts) == []
