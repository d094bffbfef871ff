"""The strokes of a drawing as thin lines, over whatever belongs to the image."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from attn.analysis.sketch.strokes import thin

Lines = tuple[NDArray[np.float64], ...]
"""Lines of points (x, y), in parts of the image's width and height from its upper left corner."""

STROKE, HALO = "#00e5ff", "#0b1b2b"
"""Colours that no map and few images have, and around it one that parts it from both."""
NAMED = "cyan: the drawing's strokes"
"""What pages say of lines in `STROKE`."""
WIDTHS = (1.7, 0.8)
"""Points of the halo and of the line."""
CLOSE = 0.95
"""Level of the contours of strokes one pixel wide: so close to 1 that both sides are one line."""


def trace_lines(strokes: NDArray[np.bool_]) -> Lines:
    """Return the lines of a drawing.

    Args:
        strokes: True where a stroke is, (row, column).
    """
    from skimage.measure import find_contours

    height, width = strokes.shape
    contours = find_contours(thin(strokes).astype(float), CLOSE, fully_connected="high")
    return tuple((contour[:, ::-1] + 0.5) / (width, height) for contour in contours)


def show_strokes(axes: Axes, lines: Lines, colour: str = STROKE, *, halo: bool = True) -> None:
    """Draw the lines of a drawing over axes that show its image, or a map of it, from edge to edge.

    Args:
        axes: whose limits are those of the image.
        lines: from `trace_lines`; none draws nothing.
        colour: of the lines.
        halo: also part them from what is below.
    """
    if not lines:
        return
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    size = np.array([right - left, bottom - top])
    segments = [line * size + (left, top) for line in lines]
    looks = list(zip(WIDTHS, (HALO, colour), strict=True))
    for width, ink in looks if halo else looks[1:]:
        drawn = LineCollection(segments, colors=ink, linewidths=width, capstyle="round")
        axes.add_collection(drawn, autolim=False)


def say_strokes(lines: Lines) -> str:
    """Return an addition to a heading if there are lines of a drawing."""
    return f" · {NAMED}" if lines else ""
