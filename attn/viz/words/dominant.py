"""Which word is largest at each place of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from attn.analysis.compare.pairs import dominance
from attn.viz.compare.comparison_scene import SceneSide, short, show_side, style
from attn.viz.figures import new_figure
from attn.viz.overlay import fade, show_image
from attn.viz.page import (
    FAMILY,
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    write_heading,
    write_title,
)
from attn.viz.style import FAINT

WORDS = (
    "#c8394f", "#2f6f9f", "#e8a838", "#5b9a72", "#7b4b94", "#86b6d9",
    "#d9a6a0", "#4a4e57", "#b0689f", "#a8c686", "#8c5a2b", "#f2d16b",
)  # fmt: skip
"""Colours of words, those with the largest area first."""
OTHERS = "#d5d8dc"
"""Colour of the words that have no colour of their own."""
WIDEST, TALLEST = 4.0, 4.6  # inches of the picture
CHART, VALUES = 2.4, 0.6
LETTERS, NAME = 18, 0.085
ROW = 0.36
FOOT = 0.2
OPACITY = 0.78


def draw_dominant(
    side: SceneSide, labels: Sequence[str], indices: Sequence[int], heading: tuple[str, str]
) -> Figure:
    """Draw the picture, the word that is largest at each place, and what area each word has.

    Args:
        side: with maps.
        labels: of the words of the maps, all of which count.
        indices: of the words that are named; the others are grey and counted together.
        heading: title and subtitle of the page.
    """
    winners = dominance(np.asarray(side.maps, np.float64)[np.newaxis])[0]
    area = np.bincount(winners.ravel(), minlength=len(labels)) / winners.size
    shown = sorted(indices, key=lambda word: -area[word])[: len(WORDS)]
    names = [short(labels[word], LETTERS) for word in shown]
    areas = [100 * float(area[word]) for word in shown]
    if hidden := len(labels) - len(shown):
        names.append(f"{hidden} other word{'s' if hidden > 1 else ''}")
        areas.append(max(0.0, 100 - sum(areas)))
    ranks = np.full(len(labels), len(WORDS))
    ranks[shown] = np.arange(len(shown))
    width = min(WIDEST, TALLEST / side.aspect)
    height, chart = width * side.aspect, len(names) * ROW
    top, left = MARGIN + 2 * LINE + GAP + TITLE, NAME * max(map(len, names))
    page = 2 * (width + GAP) + GAP + left + CHART + VALUES
    figure = new_figure(page + 2 * MARGIN, top + max(height, chart + FOOT) + MARGIN)
    write_heading(figure, tuple(short(line, int(page / LETTER)) for line in heading))
    axes = add_axes(figure, MARGIN, top, width, height)
    show_side(axes, side)
    write_title(axes, side.label, size=10.5)
    axes = add_axes(figure, MARGIN + width + GAP, top, width, height)
    _draw_winners(axes, side, ranks[winners])
    axes = add_axes(figure, MARGIN + 2 * width + 3 * GAP + left, top, CHART, chart)
    _draw_areas(axes, names, areas, [*WORDS[: len(shown)], OTHERS])
    return figure


def _draw_winners(axes: Axes, side: SceneSide, ranks: NDArray[np.int64]) -> None:
    """Colour every place by the rank of its word."""
    shape = ranks.shape if side.image is None else side.image.shape[:2]
    if side.image is not None:
        show_image(axes, fade(side.image))
    axes.imshow(
        ranks,
        cmap=ListedColormap([*WORDS, OTHERS]),
        vmin=-0.5,
        vmax=len(WORDS) + 0.5,
        interpolation="nearest",
        extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5),
        alpha=OPACITY,
    )
    axes.set_axis_off()
    write_title(axes, "largest word", f"{ranks.shape[0]} × {ranks.shape[1]}", size=10.5)


def _draw_areas(
    axes: Axes, names: Sequence[str], areas: Sequence[float], colours: Sequence[str]
) -> None:
    """Draw the area of each word in its colour."""
    axes.barh(range(len(names)), areas, 0.68, color=colours[: len(names)])
    for level, value in enumerate(areas):
        axes.annotate(
            f"{value:.1f} %",
            (value, level),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=FAINT,
            fontfamily=FAMILY,
            annotation_clip=False,
        )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, max(areas) or 1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks([])
    style(axes, across=True)
    write_title(axes, "of the picture", size=10.5)
