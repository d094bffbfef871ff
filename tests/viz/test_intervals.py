"""Axes that a single wide interval does not rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from attn.viz.intervals import draw_interval, limit_bars, limit_intervals, mark_beyond

NUMBERS = st.floats(-1e3, 1e3)
ENDS = st.one_of(NUMBERS, st.sampled_from([np.inf, -np.inf, np.nan]))


@given(
    st.lists(NUMBERS, max_size=5),
    st.lists(st.tuples(ENDS, ENDS).filter(lambda ends: not ends[0] >= ends[1]), max_size=5),
)
def test_every_point_is_on_the_axis(points, intervals):
    """Whatever the intervals are, 0 and all points are shown, on an axis that can be drawn."""
    left, right = limit_intervals(points, intervals)
    assert np.isfinite([left, right]).all()
    assert left < right
    assert all(left <= point <= right for point in [*points, 0.0])


def test_one_wide_interval():
    """Ordinary intervals are shown whole, one that is far wider is cut off."""
    usual = [(-0.1, 0.1), (0.7, 1.1), (0.2, 0.3)]
    assert limit_intervals([0, 1], usual) == pytest.approx((-0.16, 1.16))
    left, right = limit_intervals([0, 1], [*usual, (-70, 90)])
    assert (left, right) == pytest.approx((-1.04, 2.04))


def test_infinite_intervals():
    """Where most intervals have no end, what is left decides."""
    assert limit_intervals([1], [(-np.inf, np.inf)] * 3) == pytest.approx((-1.15, 2.15))


@given(st.lists(ENDS, max_size=7))
def test_bars(values):
    """Any changes give an axis with 0 on it."""
    left, right = limit_bars(values)
    assert np.isfinite([left, right]).all()
    assert left < right
    assert left <= 0 <= right


def test_one_long_bar():
    """A bar that is longer than usual is whole; one that would hide all others is cut off."""
    assert limit_bars([1, -1, 2, 12])[1] > 12
    assert limit_bars([1, -1, 2, 1200])[1] < 120


def test_arrows():
    """What goes on beyond the axis has an arrow at that edge, and nothing else has."""
    axes = Figure().subplots()
    axes.set_xlim(-1, 2)
    result = [draw_interval(axes, ends, 0, "k") for ends in ((-1, 1), (0, 3), (-9, np.inf))]
    assert result == [False, True, True]
    assert not draw_interval(axes, (np.nan, 7), 0, "k")
    assert mark_beyond(axes, (-5, -5), 0, "k")
    shown = [(line.get_marker(), float(line.get_xdata()[0])) for line in axes.lines]
    arrows = [item for item in shown if item[0] != "None"]
    assert arrows == [(">", 2), ("<", -1), (">", 2), ("<", -1)]
    assert all(-1 <= index <= 2 for line in axes.lines for index in line.get_xdata())
