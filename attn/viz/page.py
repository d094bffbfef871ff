"""Pages in inches: where axes and texts go on a figure, and texts that never overflow.

Sheets of images are laid out here rather than by matplotlib's engine (see `attn.viz.charts`): how
many columns there are follows from the shape of the images, the size of numbers on them from their
inches, and the edges of images meet that of the heading. Tried with the engine, a sheet of eight
panels took 2.4 s in place of 1.0 s, and its edges lay a few pixels off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from attn.viz import fonts
from attn.viz.labels import printable, short, wrap
from attn.viz.style import FAINT, INK, styled

FAMILY = fonts.FAMILY

MARGIN, GAP, TITLE = 0.3, 0.16, 0.3
LINE = 0.21  # of one line of the heading
LETTER = 0.088  # mean width of a letter of the heading
SMALLER = 1.25
"""So many times the letters of a title are in a line of a subtitle."""
POINTS = 72.0  # in an inch
LEAST = 7.5
"""Points of the smallest letters that are read without effort."""
LEFT, RIGHT = "title", "remark"

SHEET_WIDTH = 12.0
SHEET_RATIO = 1.25  # width to height that a sheet comes close to
CELL_WIDTHS = (1.4, 3.4)
EMPTY = 0.5  # what an unused cell costs, against a ratio that is off by e


@dataclass(frozen=True)
class Sheet:
    """A page of equal cells, each below its title; sizes in inches.

    Attributes:
        columns: cells in a row.
        rows: rows of cells.
        cell: width and height of a cell.
        heading: lines above the cells.
        narrowest: the page is at least as wide as this between its margins.
        footer: height that is left below the cells.
        small: how many of the lines above are the subtitle's.
    """

    columns: int
    rows: int
    cell: tuple[float, float]
    heading: tuple[str, ...]
    narrowest: float
    footer: float
    small: int = 1

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the page."""
        width, height = self.cell
        across = self.columns * (width + GAP) - GAP
        down = self.rows * (height + TITLE + GAP) - GAP
        return max(across, self.narrowest) + 2 * MARGIN, self.top + down + self.footer + MARGIN

    @property
    def top(self) -> float:
        """Where the first row begins, from above."""
        return MARGIN + LINE * len(self.heading) + GAP

    def corner(self, index: int) -> tuple[float, float]:
        """Left and upper edge of a cell, from the page's upper left corner."""
        row, column = divmod(index, self.columns)
        width, height = self.cell
        return MARGIN + column * (width + GAP), self.top + TITLE + row * (height + TITLE + GAP)


def arrange(
    cells: int, aspect: float, heading: tuple[str, str], *, narrowest: float, footer: float
) -> Sheet:
    """Choose the number of columns: close to `SHEET_RATIO`, few empty cells.

    Args:
        cells: how many there are.
        aspect: height of a cell divided by its width.
        heading: title and subtitle above the cells, each wrapped into at most three lines.
        narrowest: least width between the margins, inches.
        footer: height below the cells, inches.
    """

    def sheet(columns: int) -> Sheet:
        largest = CELL_WIDTHS[1] / max(aspect, 1.0) ** 0.5
        width = min(max((SHEET_WIDTH + GAP) / columns - GAP, CELL_WIDTHS[0]), largest)
        rows = -(-cells // columns)
        return Sheet(columns, rows, (width, width * aspect), heading, narrowest, footer)

    def badness(sheet: Sheet) -> float:
        width, height = sheet.size
        unused = sheet.rows * sheet.columns - cells
        return abs(float(np.log(width / height / SHEET_RATIO))) + EMPTY * unused / cells

    best = min((sheet(columns) for columns in range(1, cells + 1)), key=badness)
    letters = int((best.size[0] - 2 * MARGIN) / LETTER)
    title, subtitle = wrap(heading[0], letters, 3), wrap(heading[1], SMALLER * letters, 3)
    lines = (*title, *subtitle)
    return Sheet(best.columns, best.rows, best.cell, lines, narrowest, footer, len(subtitle))


def add_axes(figure: Figure, left: float, upper: float, width: float, height: float) -> Axes:
    """Add axes, in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    box = (left / across, 1 - (upper + height) / down, width / across, height / down)
    with styled():
        return figure.add_axes(box)


def write_heading(figure: Figure, lines: Sequence[str], small: int = 1) -> None:
    """Write lines at the top of a page; an empty prompt is said.

    Args:
        figure: the page.
        lines: of the title, then of the subtitle.
        small: how many are the subtitle's, which is small and grey.
    """
    width, height = figure.get_size_inches()
    for index, line in enumerate(lines):
        is_small = index >= len(lines) - small
        figure.text(
            MARGIN / width,
            1 - (MARGIN + LINE * (index + 0.7)) / height,
            line.strip() or "(empty prompt)",
            fontsize=8.5 if is_small else 11,
            color=FAINT if is_small else INK,
            fontfamily=FAMILY,
            parse_math=False,
        )


def write_foot(figure: Figure, text: str) -> None:
    """Write a small grey line at the foot of a page."""
    width, height = figure.get_size_inches()
    figure.text(
        MARGIN / width,
        MARGIN / height,
        text,
        fontsize=8.5,
        color=FAINT,
        fontfamily=FAMILY,
        parse_math=False,
    )


def shorten(text: str, width: float) -> str:
    """Return a text for one line of the heading, cut where it is wider than that many inches."""
    return short(text, int(width / LETTER))


def write_title(axes: Axes, title: str, remark: str = "", *, size: float) -> None:
    """Write a title above axes at the left and a small grey remark at the right.

    A title that is too wide is cut, with an ellipsis.
    """
    _above(axes, remark, max(0.75 * size, LEAST), FAINT, right=True)
    _above(axes, printable(title), size, INK)
    if axes.figure.get_layout_engine() is None:
        fit_title(axes)
    else:  # which is to leave room for the title, and none for its width
        axes.set_title(" ", fontsize=size, pad=2)


def write_beside(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float] = (4, 0),
    *,
    size: float = 8.5,
    colour: str = FAINT,
    **more: Any,
) -> None:
    """Write a text beside a point.

    Args:
        axes: in which the point is.
        text: already printable.
        at: the point, in data coordinates unless `xycoords` says otherwise.
        offset: points to the right and upwards.
        size: of the letters, points.
        colour: of the letters.
        more: arguments of `Axes.annotate`.
    """
    axes.annotate(
        text,
        at,
        offset,
        textcoords="offset points",
        fontsize=size,
        color=colour,
        fontfamily=FAMILY,
        annotation_clip=False,
        **{"va": "center"} | more,
    )


def write_at_edge(axes: Axes, text: str, level: float, colour: str) -> None:
    """Write a text at the right of axes, at a level of their data."""
    beyond: Any = ("axes fraction", "data")
    write_beside(axes, text, (1, level), (6, 0), colour=colour, xycoords=beyond)


def fit_title(axes: Axes) -> None:
    """Cut the title of axes that have their final size."""
    texts = {text.get_gid(): text for text in axes.texts}
    if LEFT not in texts:
        return
    label, note = texts[LEFT], texts[RIGHT]
    text, room = (
        label.get_text(),
        _width(axes) - _text_width(note) - float(label.get_fontsize()) / 2,
    )
    while len(text) > 1 and (width := _text_width(label)) > room:
        text = text[: max(1, min(len(text) - 1, int(len(text) * room / width)))]
        label.set_text(f"{text.rstrip()}…")


def _above(axes: Axes, text: str, size: float, colour: str, *, right: bool = False) -> None:
    label = axes.annotate(
        text,
        (1.0 if right else 0.0, 1.0),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if right else "left",
        va="baseline",
        fontsize=size,
        fontfamily=fonts.families(text),  # its width is measured before `render` sees it
        color=colour,
        parse_math=False,
        gid=RIGHT if right else LEFT,
    )
    label.set_in_layout(False)


def _width(axes: Axes) -> float:
    """Width of axes in points."""
    pixels = axes.get_window_extent().width
    return float(pixels * POINTS / _dpi(axes))


def _text_width(text: Text) -> float:
    """Width of a text in points."""
    return float(text.get_window_extent().width * POINTS / _dpi(text))


def _dpi(artist: Axes | Text) -> float:
    figure = artist.get_figure(root=True)
    if figure is None:
        raise ValueError("the artist is on no figure")
    return float(figure.dpi)
