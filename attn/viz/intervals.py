"""Intervals on an axis that a single wide one does not rule; what goes on beyond is marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

PADDING = 0.05
"""Part of an axis that stays free at each end."""
WIDEST = 3.0
"""Intervals up to so many times the median length beyond all points are drawn in full."""
USUAL = 20.0
"""Bars that are cut are so many times as long as the upper quartile of all."""
MUCH = 2.0
"""Bars are cut if they would be more than so many times as long as that."""

Limits = tuple[float, float]


def limit_intervals(points: Sequence[float], intervals: Sequence[Limits]) -> Limits:
    """Return an axis that shows 0, every point, and intervals up to a few lengths beyond these.

    Args:
        points: finite.
        intervals: low and high; infinite ends go on, NaN is no interval.
    """
    left, right = min([*points, 0.0]), max([*points, 0.0])
    bounded = np.array(
        [interval for interval in intervals if not np.isnan(interval).any()]
    ).reshape(-1, 2)
    if len(bounded):
        usual = WIDEST * float(np.median(bounded[:, 1] - bounded[:, 0]))
        room = usual if np.isfinite(usual) else right - left
        left, right = (
            max(min(left, float(bounded[:, 0].min())), left - room),
            min(max(right, float(bounded[:, 1].max())), right + room),
        )
    padding = PADDING * (right - left) or PADDING
    return left - padding, right + padding


def limit_bars(values: Sequence[float]) -> Limits:
    """Return an axis that shows 0 and every bar, but for those far longer than most."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if not len(finite):
        return -1.0, 1.0
    usual = float(np.quantile(np.abs(finite), 0.75, method="lower"))
    longest = float(np.abs(finite).max())
    most = USUAL * usual if 0 < MUCH * USUAL * usual < longest else longest or 1.0
    shown = np.clip(finite, -most, most)
    left, right = min(float(shown.min()), 0.0), max(float(shown.max()), 0.0)
    padding = PADDING * (right - left) or 1.0
    return left - padding, right + padding


def draw_interval(
    axes: Axes, interval: Limits, level: float, colour: str, *, width: float = 1.8
) -> bool:
    """Draw an interval as a line across, with an arrow where it goes on beyond the axis.

    The axis must have its limits already.

    Returns:
        Whether it goes on.
    """
    low, high = interval
    left, right = axes.get_xlim()
    if np.isnan([low, high]).any():
        return False
    ends = [max(low, left), min(high, right)]
    axes.plot(ends, [level, level], color=colour, linewidth=width, solid_capstyle="round")
    return mark_beyond(axes, interval, level, colour)


def mark_beyond(axes: Axes, ends: Limits, level: float, colour: str) -> bool:
    """Draw an arrow at each edge that something goes beyond; returns whether there is one."""
    left, right = axes.get_xlim()
    is_beyond = {(left, "<"): ends[0] < left, (right, ">"): ends[1] > right}
    for edge, marker in (arrow for arrow, is_there in is_beyond.items() if is_there):
        axes.plot(
            [edge], [level], marker, color=colour, markersize=7, clip_on=False, markeredgecolor="w"
        )
    return any(is_beyond.values())
