"""Axes of steps."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from attn.viz.lines import mark_steps


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 23, 131])
def test_steps_are_whole(steps):
    """There is no step 0.5, however few there are."""
    axes = Figure().add_subplot()
    axes.plot(range(steps), np.linspace(0, 1, steps))
    mark_steps(axes)
    ticks = axes.get_xticks()
    assert len(ticks) > 0
    assert (ticks == ticks.round()).all()


def test_one_step_is_seen():
    """A line through one point would be invisible."""
    axes = Figure().add_subplot()
    lines = axes.plot([0, 1], [[np.nan, 0.2], [0.5, 0.1]])
    mark_steps(axes)
    assert [line.get_marker() for line in lines] == ["o", "None"]
