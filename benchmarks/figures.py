"""Figures of benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame


def draw_heads(table: DataFrame, path: Path) -> None:
    """Draw the pointing game of every layer and head, a panel per segment and class of words.

    Args:
        table: of `summary.summarise`.
        path: a PNG file.
    """
    pointing = table[table["measure"] == "pointing"]
    cells = {name: column.to_numpy() for name, column in pointing.items()}
    is_head = cells["pooling"] == "head"
    layers = np.unique(cells["layer"][is_head]).astype(int)
    heads = int(cells["head"][is_head].max()) + 1
    segments, roles = (list(dict.fromkeys(cells[name][is_head])) for name in ("segment", "class"))
    size = (1.2 + len(roles) * (1 + 0.6 * heads), len(segments) * (1 + 0.3 * len(layers)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(segments), len(roles), squeeze=False, sharey=True)
    for (row, column), panel in np.ndenumerate(panels):
        own = (cells["segment"] == segments[row]) & (cells["class"] == roles[column])
        values = np.full((len(layers), heads), np.nan)
        for index in np.flatnonzero(own & is_head):
            layer = np.searchsorted(layers, cells["layer"][index])
            values[layer, int(cells["head"][index])] = cells["mean"][index]
        pooled = np.flatnonzero(own & (cells["pooling"] == "mean"))[0]
        _draw_panel(panel, values, layers)
        panel.set_title(
            f"{segments[row]}: {roles[column]}\nall {cells['mean'][pooled]:.2f}, "
            f"chance {cells['chance'][pooled]:.2f}",
            fontsize=8,
        )
    figure.savefig(path, dpi=120)


def _draw_panel(axes: Axes, values: np.ndarray, layers: np.ndarray) -> None:
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (layer, head), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "black" if value > 0.6 else "white"
            axes.text(head, layer, f"{value:.2f}", ha="center", va="center", size=7, color=color)
    axes.set_yticks(range(len(layers)), [f"layer {layer}" for layer in layers], fontsize=7)
    axes.set_xticks(range(values.shape[1]), [f"head {head}" for head in range(values.shape[1])])
    axes.tick_params(axis="x", labelsize=7)
