"""Opening tokens head by head: the baseline, the variant, and what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from attn.analysis.compare.changes import TermChange
from attn.schema import Layer, name_layers
from attn.viz.charts import new_charts, show_scale
from attn.viz.compare.comparison_scene import (
    DIVERGING,
    POINTS,
    ComparisonScene,
    name_terms,
    signed,
)
from attn.viz.figures import FigureFile
from attn.viz.labels import short
from attn.viz.lines import layer_room, mark_layers, name_axes, spread
from attn.viz.overlay import COLOURS, colour_scale, say_dark
from attn.viz.page import (
    write_title,
)

CELL = (0.3, 0.22)
WIDTHS = (2.6, 7.0)
LEFT, BELOW, FOOT = 0.7, 0.85, 0.9  # inches around tables, and for the bars
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
    size = (
        3 * (LEFT + width),
        len(changes) * (height + BELOW + layer_room(name_layers(layers))) + FOOT,
    )
    heading = (scene.title_of_charts, scene.subtitle)
    figure, panels = new_charts(heading, size, nrows=len(changes), ncols=3)
    tables = [(entry.change.base, entry.change.variant, entry.change.change) for entry in changes]
    heat = colour_scale(np.nan_to_num([values[:2] for values in tables]))
    most = float(np.nanmax(np.abs([values[2] for values in tables]))) or 1.0
    scales = [(COLOURS, heat), (COLOURS, heat), (DIVERGING, Normalize(-most, most))]
    names = name_terms([entry.term for entry in changes], LETTERS)
    labels = [side.label for side in scene.sides[:2]]
    for number, entry in enumerate(changes):
        titles = [(names[entry.term.key], label) for label in (*labels, "change")]
        for column, values in enumerate(tables[number]):
            axes = panels[3 * number + column]
            colours, scale = scales[column]
            axes.imshow(values.T, cmap=colours, norm=scale, aspect="auto", interpolation="nearest")
            _label(axes, layers, spread(np.arange(heads, dtype=np.float64), height, 0.2))
            title, remark = titles[column]
            write_title(axes, title, short(remark, LETTERS), size=9)
    dark = say_dark(np.array([np.fmax(*values[:2]) for values in tables]), heat, "heads")
    masses = [axes for number, axes in enumerate(panels) if number % 3 < 2]  # noqa: PLR2004
    show_scale(
        figure,
        masses,
        scales[0],
        f"mass, in % of all attention{dark}",
        spell=lambda part: f"{100 * part:.6g}",
    )
    ticks = MaxNLocator(5, symmetric=True)
    about, changed = f"change of mass, {POINTS}", panels[2::3]
    show_scale(
        figure, changed, scales[2], about, ticks=ticks, spell=lambda part: signed(100 * part)
    )
    return FigureFile("sinks.png", figure, scene.texts)


def _label(axes: Axes, layers: Sequence[Layer], heads: Sequence[float]) -> None:
    axes.set_facecolor(GREY)
    mark_layers(axes, [layer.index for layer in layers], name_layers(layers))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_yticks(heads)
    axes.spines[:].set_visible(False)
    name_axes(axes, "layer", "head")
