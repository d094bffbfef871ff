"""Pages of charts: a heading, and below it axes that matplotlib fits to what is written at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator

from attn.viz.figures import new_figure
from attn.viz.labels import wrap
from attn.viz.lines import legend_rows, show_legend
from attn.viz.page import GAP, LETTER, LINE, MARGIN, SMALLER, write_heading
from attn.viz.style import FAINT, INK, styled

MOST_LINES = 3
"""Lines into which a title, or a subtitle, is wrapped at most."""
PADDING = (0.05, 0.09)
"""Inches beside, and above and below, axes with all that is written at them."""
BAR, LONGEST_BAR = 0.13, 4.0
"""Height of a colour bar, and its width where there is room, inches."""


def new_charts(
    heading: tuple[str, str], size: tuple[float, float], *, legend: Sequence[str] = (), **grid: Any
) -> tuple[Figure, list[Axes]]:
    """Return a page and its axes, row by row.

    The page grows with the lines of its heading and legend; the axes share what they leave, and
    make room for their own titles, numbers and names.

    Args:
        heading: title and subtitle, wrapped.
        size: width and height of all axes together, with what is written at them, inches.
        legend: the names that `show_names` will write.
        grid: `nrows`, `ncols`, `sharex`, … of `Figure.subplots`.
    """
    width, height = size
    title, subtitle = (
        wrap(text, letters * width / LETTER, MOST_LINES)
        for text, letters in zip(heading, (1.0, SMALLER), strict=True)
    )
    lines = (*title, *subtitle)
    top = MARGIN + LINE * len(lines) + GAP
    foot = LINE * legend_rows(legend, width) + GAP if legend else 0.0
    figure = new_figure(width + 2 * MARGIN, top + height + foot + MARGIN)
    across, down = figure.get_size_inches()
    box = (MARGIN / across, (foot + MARGIN / 2) / down, width / across, height / down)
    beside, above = PADDING
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=beside, h_pad=above, rect=box))
    write_heading(figure, lines, small=len(subtitle))
    with styled():
        return figure, list(figure.subplots(**grid, squeeze=False).flat)


def show_names(figure: Figure, handles: Sequence[Line2D | Patch], names: Sequence[str]) -> None:
    """Name lines or areas at the foot of a page of charts; see `new_charts`."""
    width = figure.get_size_inches()[0] - 2 * MARGIN
    show_legend(figure, handles, names, legend_rows(names, width))


def show_scale(
    figure: Figure,
    axes: Sequence[Axes],
    look: tuple[str | Colormap, Normalize],
    label: str,
    *,
    ticks: Locator | None = None,
    spell: Callable[[float], str] = "{:.6g}".format,
) -> None:
    """Draw a colour bar below axes.

    Args:
        figure: the page.
        axes: above the bar.
        look: colours and scale.
        label: what they stand for.
        ticks: where its numbers are.
        spell: how they are written.
    """
    colours, scale = look
    width = (figure.get_size_inches()[0] - 2 * MARGIN) * _part_across(axes)
    with styled():
        bar = figure.colorbar(
            ScalarMappable(scale, colours),
            ax=list(axes),
            location="bottom",
            shrink=min(1.0, LONGEST_BAR / width),
            anchor=(0.0, 0.5),
            aspect=min(width, LONGEST_BAR) / BAR,
            ticks=ticks or MaxNLocator(5),
            format=FuncFormatter(lambda value, _: spell(value)),
        )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, color=FAINT, labelcolor=INK)
    bar.set_label(label, parse_math=False)


def _part_across(axes: Sequence[Axes]) -> float:
    """Return how many of the page's columns some axes are in, as a part of all."""
    cells = [cell for panel in axes if (cell := panel.get_subplotspec()) is not None]
    columns = {column for cell in cells for column in cell.colspan}
    return len(columns) / cells[0].get_gridspec().ncols
