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
    SMALLER,
    TITLE,
    add_axes,
    write_beside,
    write_foot,
    write_heading,
    write_title,
)
from attn.viz.style import INK
from attn.viz.words.word_colours import OTHERS, colour_words
from attn.wording import list_some
from attn.words import is_content

LISTED = 12
"""So many words are named at least, those with the largest area; of more, those that have any."""
NONE = "#f4f4f2"
"""Colour of the places at which no word is dominant."""
WIDEST, TALLEST = 4.0, 4.6  # inches of the picture
CHART, VALUES = 2.4, 0.6
SPARED = 12
"""So many words are named that do not compete."""
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
    colours: Sequence[str] = (),
) -> Figure:
    """Draw the image, the word that is dominant at each place, and what area each word has.

    Args:
        side: the generation.
        labels: of all words.
        winners: (row, column): the index of the dominant word, or `NO_WORD`.
        among: indices of the words that compete.
        heading: title and subtitle of the page.
        measure: what decided, `lift` or `mass`.
        colours: of all words; empty is in their order.
    """
    colours = colours or colour_words(labels)
    areas = {word: 100 * float((winners == word).mean()) for word in among}
    none = 100 * float((winners == NO_WORD).mean())
    ranked = sorted(areas, key=lambda word: -areas[word])
    coloured = [word for word in ranked if colours[word] != OTHERS]
    shown = coloured[: max(LISTED, sum(areas[word] > 0 for word in coloured))]
    names = [short(labels[word], LETTERS) for word in shown]
    parts, fills = [areas[word] for word in shown], [colours[word] for word in shown]
    others = max(0.0, 100 - none - sum(parts))
    for name, part, colour in (("other words", others, OTHERS), ("no word", none, NONE)):
        if part > TINY:
            names, parts, fills = [*names, name], [*parts, part], [*fills, colour]
    places = np.full(winners.shape, len(shown))
    for at, word in enumerate(shown):
        places[winners == word] = at
    places[winners == NO_WORD] = len(shown) + 1
    width = min(WIDEST, TALLEST / side.aspect)
    height, chart = width * side.aspect, len(names) * ROW
    top, left = MARGIN + 2 * LINE + GAP + TITLE, NAME * max(map(len, names))
    page = 2 * (width + GAP) + GAP + left + CHART + VALUES
    letters = int(SMALLER * page / LETTER)
    idle = _say_idle([label for at, label in enumerate(labels) if at not in among], letters)
    foot = LINE if idle else 0.0
    figure = new_figure(page + 2 * MARGIN, top + max(height, chart + FOOT) + foot + MARGIN)
    write_heading(figure, tuple(short(line, int(page / LETTER)) for line in heading))
    axes = add_axes(figure, MARGIN, top, width, height)
    show_side(axes, side)
    write_title(axes, side.label, size=10.5)
    axes = add_axes(figure, MARGIN + width + GAP, top, width, height)
    _draw_winners(axes, side, places, [*(colours[word] for word in shown), OTHERS, NONE])
    remark = f"{LEAST} times its mean or more" if measure == "lift" else "attention probability"
    write_title(axes, f"word of the largest {measure}", remark, size=10.5)
    axes = add_axes(figure, MARGIN + 2 * width + 3 * GAP + left, top, CHART, chart)
    _draw_areas(axes, names, parts, fills)
    write_foot(figure, idle)
    return figure


def _say_idle(labels: Sequence[str], letters: int) -> str:
    """Say, in a line of so many letters, which words take no part."""
    words = dict.fromkeys(label.partition(" (")[0] for label in labels)
    idle = [word for word in words if not is_content(word)]
    if not idle:
        return ""
    listed = list_some(idle, SPARED)
    return short(f"Only content words compete: not {listed} (--words names others)", letters)


def _draw_winners(
    axes: Axes, side: SceneSide, places: NDArray[np.int64], colours: Sequence[str]
) -> None:
    """Give every place the colour whose index stands there, below the image's outlines."""
    height, width = places.shape if side.image is None else side.image.shape[:2]
    axes.imshow(
        places,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    if side.image is not None:
        trace_outlines(axes, side.image, INK)
    axes.set_axis_off()


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
    write_title(axes, "of the image", size=10.5)
