"""The picture in equal cells, and for every word the part of its attention in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.words.maps.cells import cell_masses, cell_parts
from attn.viz.compare.comparison_scene import Heat, SceneSide, say_shown, show_side
from attn.viz.figures import new_figure
from attn.viz.overlay import ColourScale, Scale, colour_scale, show_bar, show_ends, show_heat
from attn.viz.page import FAMILY, GAP, MARGIN, add_axes, arrange, write_heading, write_title

FOOT = 0.72
NARROWEST = 4.6
BAR = 0.13
MOST = 16
"""So many words are drawn, those of most mass; the table has all."""
SMALL, LARGE = 7.5, 10.0  # points of a number
DIGIT = 1.9  # digits and their margins across a cell, in heights of a letter
WIDE = 4
"""Up to so many cells in a row, three digits have room."""
TENS = 9.95
BRIGHT = 0.62
"""From this part of the scale on, numbers are dark."""


def draw_cells(
    side: SceneSide,
    labels: Sequence[str],
    indices: Sequence[int],
    count: int,
    heading: tuple[str, str],
    scale: Scale = "shared",
) -> Figure:
    """Draw the picture with its grid, and words' cells with their numbers.

    Args:
        side: with maps.
        labels: of the words of the maps.
        indices: of the words that are drawn.
        count: cells in a row and in a column.
        heading: title and subtitle of the page.
        scale: one for all words, or one for each.
    """
    maps = np.asarray(side.maps, np.float64)
    shown = sorted(sorted(indices, key=lambda word: -maps[word].mean())[:MOST])
    parts = cell_parts(cell_masses(maps[shown], count))
    lines = heading[0], heading[1] + say_shown(len(shown), len(maps))
    sheet = arrange(1 + len(shown), side.aspect, lines, narrowest=NARROWEST, footer=FOOT)
    figure = new_figure(*sheet.size)
    write_heading(figure, sheet.heading, sheet.small)
    axes = add_axes(figure, *sheet.corner(0), *sheet.cell)
    show_side(axes, side)
    _draw_lines(axes, count, "white")
    write_title(axes, side.label, f"{count} × {count}", size=10.5)
    common = colour_scale(100 * parts)
    for number, (at, part) in enumerate(zip(shown, parts, strict=True), start=1):
        axes = add_axes(figure, *sheet.corner(number), *sheet.cell)
        of_word = common if scale == "shared" else colour_scale(100 * part)
        _draw_word(axes, 100 * part, side, of_word)
        write_title(axes, labels[at], f"most {100 * part.max():.3g} %", size=10.5)
    width, height = figure.get_size_inches()
    bar = ((width - NARROWEST) / 2, height - MARGIN - FOOT + 1.5 * GAP, NARROWEST, BAR)
    about = "% of the word's attention in a cell"
    if scale == "shared":
        show_bar(figure, add_axes(figure, *bar), common, about)
    else:
        label = f"{about}, each word's own scale"
        show_ends(figure, add_axes(figure, *bar), label, ("0", "the word's most"))
    return figure


def _draw_word(axes: Axes, parts: Heat, side: SceneSide, scale: ColourScale) -> None:
    """Draw the cells of one word, each with its number."""
    height, width = np.asarray(side.maps).shape[1:]
    if side.image is not None:
        height, width = side.image.shape[:2]
    show_heat(axes, parts, None, scale, shape=(height, width))
    _draw_lines(axes, len(parts), "#ffffff80")
    inches = axes.get_window_extent().width / axes.figure.dpi / len(parts)
    is_narrow = len(parts) > WIDE
    size = min(max(72 * inches / DIGIT / 1.6, SMALL), LARGE)
    for (row, column), part in np.ndenumerate(parts):
        axes.text(
            (column + 0.5) * width / len(parts) - 0.5,
            (row + 0.5) * height / len(parts) - 0.5,
            f"{part:.0f}" if is_narrow and part >= TENS else f"{part:.1f}",
            ha="center",
            va="center",
            fontsize=size,
            fontfamily=FAMILY,
            color="#101010" if part > BRIGHT * (scale.vmax or 1.0) else "white",
        )


def _draw_lines(axes: Axes, count: int, colour: str) -> None:
    """Draw the lines between the cells."""
    for line in range(1, count):
        axes.plot([line / count] * 2, [0, 1], color=colour, linewidth=0.8, transform=axes.transAxes)
        axes.plot([0, 1], [line / count] * 2, color=colour, linewidth=0.8, transform=axes.transAxes)
