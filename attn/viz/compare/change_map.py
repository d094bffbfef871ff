"""A map of change: layers across, words down."""

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
    is_masked,
    name_terms,
    say_hatched,
    say_shown,
    show_changes,
    signed,
    style,
)
from attn.viz.figures import FigureFile
from attn.viz.lines import layer_room
from attn.viz.page import write_title
from attn.viz.style import FAINT

WIDTHS = (5.0, 14.0)  # inches of the map
COLUMN, ROW = 0.3, 0.3
MOST = 40
"""So many words are drawn, those that changed most in any layer; the tables have all."""
LETTERS = 20
NAMES, FOOT = 1.2, 1.4  # inches for words, and for titles, numbers and the bar
TICKS = 36
"""So many layers are numbered at most."""


def draw_change_map(
    scene: ComparisonScene, changes: Sequence[TermChange], layers: Sequence[Layer]
) -> FigureFile:
    """Draw `layers.png`: the change of mass of every word in every layer.

    Cells whose 95 % interval holds 0 are hatched.

    Args:
        scene: what is compared.
        changes: of mass by layer, in the order of the prompt.
        layers: the layers.
    """
    most_first = sorted(
        changes, key=lambda entry: -np.nanmax(np.abs(entry.change.change), initial=0)
    )
    kept = {entry.term.key for entry in most_first[:MOST]}
    words = [entry for entry in changes if entry.term.key in kept]
    values = np.array([entry.change.change for entry in words])
    masked = np.array([is_masked(entry) for entry in words])
    width = min(max(COLUMN * len(layers), WIDTHS[0]), WIDTHS[1])
    height = max(len(words), 2) * ROW
    labels = list(name_terms([entry.term for entry in words], LETTERS).values())
    subtitle = scene.subtitle + say_shown(len(words), len(changes))
    figure, (axes,) = new_charts(
        (scene.title_of_charts, subtitle),
        (width + NAMES, height + FOOT + layer_room(name_layers(layers))),
    )
    most = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    show_changes(axes, values, masked, most, 0)
    _label(axes, labels, layers)
    write_title(axes, scene.sides[1].label, say_hatched(words), size=10.5)
    about = f"change of mass, {POINTS}"
    ticks = MaxNLocator(5, symmetric=True)
    look = (DIVERGING, Normalize(-most, most))
    show_scale(figure, [axes], look, about, ticks=ticks, spell=lambda part: signed(100 * part))
    return FigureFile("layers.png", figure, scene.texts)


def _label(axes: Axes, labels: Sequence[str], layers: Sequence[Layer]) -> None:
    every = -(-len(layers) // TICKS)
    names = name_layers(layers)
    labelled = [f"{names[layer.index]}  {layer.index}" for layer in layers[::every]]
    axes.set_xticks(range(0, len(layers), every), labelled, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("layer, in the order of execution", fontsize=8.5, color=FAINT)
    style(axes, across=True)
    axes.grid(visible=False)
