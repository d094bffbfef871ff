"""Cells whose change is not shown: bare paper with thin lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from attn.analysis.compare.changes import TermChange
from attn.viz.compare.comparison_scene import DIVERGING

MASK, HATCH = "#c3c7cd", "////"
"""Colour and kind of the lines."""
HATCHED = "hatched: the 95 % interval holds 0"
FEW_PAIRS = "too few pairs for intervals"


def is_masked(entry: TermChange) -> NDArray[np.bool_]:
    """Return which cells have an interval that holds 0; none where there are no intervals."""
    low, high = np.asarray(entry.change.low), np.asarray(entry.change.high)
    return np.asarray((low <= 0) & (high >= 0))


def say_hatched(changes: Sequence[TermChange]) -> str:
    """Say what hatched cells are, or why there are none."""
    has_intervals = any(np.isfinite(entry.change.low).any() for entry in changes)
    return HATCHED if has_intervals else FEW_PAIRS


def show_changes(
    axes: Axes, values: NDArray[np.float64], masked: NDArray[np.bool_], end: float, aspect: float
) -> None:
    """Draw cells of change between -end and end; masked ones are paler than any that is shown.

    Args:
        axes: where.
        values: (row, column).
        masked: which of them are hatched.
        end: of the scale, which is symmetric about 0.
        aspect: height of a cell divided by its width; 0 fills the axes.
    """
    axes.imshow(
        np.ma.masked_array(values, masked),
        cmap=colormaps[DIVERGING].with_extremes(bad="white"),
        norm=Normalize(-end, end),
        aspect=aspect or "auto",
        interpolation="nearest",
    )
    squares = [
        Path.unit_rectangle().transformed(Affine2D().translate(column - 0.5, row - 0.5))
        for row, column in np.argwhere(masked)
    ]
    if squares:
        lines = PathPatch(Path.make_compound_path(*squares), facecolor="none", linewidth=0)
        lines.set(hatch=HATCH, edgecolor=MASK, hatch_linewidth=0.5)
        axes.add_patch(lines)
    rows, columns = masked.shape
    frame = Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=MASK, linewidth=0.8)
    axes.add_patch(frame)
