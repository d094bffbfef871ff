"""Which word is dominant at each place of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from attn.analysis.words.maps.dominance import LEAST, NO_WORD
from attn.viz.compare.comparison_scene import TINY, SceneSide, show_side, style
from attn.viz.figures import new_figure
from attn.viz.labels import short
from attn.viz.overlay import trace_outlines
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    write_beside,
    write_heading,
    write_title,
)
from attn.viz.style import INK

WORDS = (
    "#c8394f", "#2f6f9f", "#e8a838", "#5b9a72", "#7b4b94", "#86b6d9",
    "#d9a6a0", "#4a4e57", "#b0689f", "#a8c686", "#8c5a2b", "#f2d16b",
)  # fmt: skip
"""Colours of words, those with the largest area first."""
OTHERS = "#d5d8dc"
"""Colour of the words for which no colour is left."""
NONE = "#f4f4f2"
"""Colour of the places at which no word is dominant."""
WIDEST, TALLEST = 4.0, 4.6  # inches of the picture
CHART, VALUES = 2.4, 0.6
LETTERS, NAME = 18, 0.085
ROW = 0.36
FOOT = 0.2


def draw_dominant(
    side: SceneSide,
    labels: Sequence[str],
    winners: NDArray[np.int64],
    among: Sequence[int],
    heading: tuple[str, str],
    measure: str = "lift",
) -> Figure:
    """Draw the image, the word that is dominant at each place, and what area each word has.

    Args:
        side: the generation.
        labels: of all words.
        winners: (row, column): the index of the dominant word, or `NO_WORD`.
        among: indices of the words that compete.
        heading: title and subtitle of the page.
        measure: what decided, `lift` or `mass`.
    """
    areas = {word: 100 * float((winners == word).mean()) for word in among}
    none = 100 * float((winners == NO_WORD).mean())
    ranked = sorted(areas, key=lambda word: -areas[word])
    shown = ranked[: len(WORDS)]
    names = [short(labels[word], LETTERS) for word in shown]
    parts, colours = [areas[word] for word in shown], [*WORDS[: len(shown)]]
    others = max(0.0, 100 - none - sum(parts))
    for name, part, colour in (("other words", others, OTHERS), ("no word", none, NONE)):
        if part > TINY:
            names, parts, colours = [*names, name], [*parts, part], [*colours, colour]
    ranks = np.full(winners.shape, len(WORDS))
    for rank, word in enumerate(shown):
        ranks[winners == word] = rank
    ranks[winners == NO_WORD] = len(WORDS) + 1
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
    _draw_winners(axes, side, ranks, measure)
    axes = add_axes(figure, MARGIN + 2 * width + 3 * GAP + left, top, CHART, chart)
    _draw_areas(axes, names, parts, colours)
    return figure


def _draw_winners(axes: Axes, side: SceneSide, ranks: NDArray[np.int64], measure: str) -> None:
    """Colour every place by the rank of its word."""
    height, width = ranks.shape if side.image is None else side.image.shape[:2]
    colours = [*WORDS, OTHERS, NONE]
    axes.imshow(
        ranks,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    if side.image is not None:
        trace_outlines(axes, side.image, INK)
    axes.set_axis_off()
    remark = f"{LEAST} times its mean or more" if measure == "lift" else "attention probability"
    write_title(axes, f"word of the largest {measure}", remark, size=10.5)


def _draw_areas(
    axes: Axes, names: Sequence[str], areas: Sequence[float], colours: Sequence[str]
) -> None:
    """Draw the area of each word in its colour."""
    axes.barh(range(len(names)), areas, 0.68, color=colours[: len(names)])
    for level, value in enumerate(areas):
        write_beside(axes, f"{value:.3g} %", (value, level))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, max(areas) or 1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks([])
    style(axes, across=True)
    write_title(axes, "of the picture", size=10.5)
