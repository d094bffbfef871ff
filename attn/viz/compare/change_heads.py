"""Opening tokens head by head: the baseline, the variant, and what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.compare.change_tables import TermChange
from attn.schema import Layer
from attn.viz.compare.comparison_scene import DIVERGING, ComparisonScene, name_terms, short, signed
from attn.viz.figures import FigureFile, new_figure
from attn.viz.lines import mark_layers, name_axes, spread
from attn.viz.overlay import COLOURS, colour_scale
from attn.viz.page import (
    FAINT,
    FAMILY,
    GAP,
    INK,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    write_heading,
    write_title,
)

CELL = (0.3, 0.22)
WIDTHS = (2.6, 7.0)
LEFT, BELOW = 0.55, 0.5
FOOT, BAR = 0.6, 0.12
GREY = "#d5d8dc"  # heads that a layer does not have
LETTERS = 30


def draw_change_heads(
    scene: ComparisonScene, changes: Sequence[TermChange], layers: Sequence[Layer]
) -> FigureFile:
    """Draw `sinks.png`: for every opening token its mass in every layer and head, and the change.

    Args:
        scene: what is compared; its first variant.
        changes: of mass, cells (layer, head); at least one.
        layers: the layers.
    """
    heads = changes[0].change.base.shape[1]
    width = min(max(CELL[0] * len(layers), WIDTHS[0]), WIDTHS[1])
    height = max(CELL[1] * heads, 0.6)
    top = MARGIN + 2 * LINE + GAP
    row = TITLE + height + BELOW
    across = 3 * (LEFT + width + GAP)
    figure = new_figure(across + 2 * MARGIN, top + len(changes) * row + FOOT + MARGIN)
    letters = int(across / LETTER)
    write_heading(figure, (short(scene.title_of_charts, letters), short(scene.subtitle, letters)))
    tables = [(entry.change.base, entry.change.variant, entry.change.change) for entry in changes]
    heat = colour_scale(np.nan_to_num([values[:2] for values in tables]))
    most = float(np.nanmax(np.abs([values[2] for values in tables]))) or 1.0
    scales = [(COLOURS, heat), (COLOURS, heat), (DIVERGING, Normalize(-most, most))]
    names = name_terms([entry.term for entry in changes], LETTERS)
    labels = [side.label for side in scene.sides[:2]]
    for number, entry in enumerate(changes):
        titles = [(names[entry.term.key], label) for label in (*labels, "change")]
        for column, values in enumerate(tables[number]):
            left = MARGIN + LEFT + column * (LEFT + width + GAP)
            axes = add_axes(figure, left, top + TITLE + number * row, width, height)
            colours, scale = scales[column]
            axes.imshow(values.T, cmap=colours, norm=scale, aspect="auto", interpolation="nearest")
            _label(axes, layers, spread(np.arange(heads, dtype=np.float64), height, 0.2))
            title, remark = titles[column]
            write_title(axes, title, short(remark, LETTERS), size=9)
    down = top + len(changes) * row
    _draw_bar(figure, (MARGIN + LEFT, down, 2 * width), scales[0], "mass: attention probability")
    last = MARGIN + LEFT + 2 * (LEFT + width + GAP)
    _draw_bar(figure, (last, down, width), scales[2], "change of mass")
    return FigureFile("sinks.png", figure, scene.texts)


def _label(axes: Axes, layers: Sequence[Layer], heads: Sequence[float]) -> None:
    axes.set_facecolor(GREY)
    mark_layers(axes, [layer.index for layer in layers])
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_yticks(heads)
    axes.tick_params(labelsize=7.5, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    axes.spines[:].set_visible(False)
    name_axes(axes, "layer", "head")


def _draw_bar(
    figure: Figure,
    where: tuple[float, float, float],
    look: tuple[str, Normalize],
    label: str,
) -> None:
    """Draw a colour bar at (left, down) of a width."""
    left, down, width = where
    colours, scale = look
    axes = add_axes(figure, left, down, width, BAR)
    is_change = colours == DIVERGING
    drawn = figure.colorbar(
        ScalarMappable(scale, colours),
        cax=axes,
        orientation="horizontal",
        ticks=MaxNLocator(5, symmetric=is_change),
        format=FuncFormatter(lambda value, _: signed(value) if is_change else f"{value:.4g}"),
    )
    drawn.outline.set_visible(False)
    axes.tick_params(labelsize=7.5, color=FAINT, labelcolor=INK, length=2)
    axes.set_xlabel(label, fontsize=8.5, color=INK, fontfamily=FAMILY)
