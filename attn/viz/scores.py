"""How often maps point to what their words name: layer by layer and step by step, beside chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.viz.charts import new_charts, show_names
from attn.viz.figures import FigureFile
from attn.viz.intervals import draw_interval
from attn.viz.labels import short
from attn.viz.lines import COLOURS, dress, mark_steps
from attn.viz.page import FAMILY, write_title
from attn.viz.style import FAINT, GRID, INK, RULE

PATH = "pointing.png"
ROW, FOOT, NAMES, PANEL = 0.24, 0.9, 1.9, 4.6  # inches
LETTERS = 26
APART = 0.5
"""Part of a row over which the segments of a text are spread."""
POOLED = {"mean": "mean of all layers", "daam": "DAAM's pooling"}
LEAST_ROWS = 8

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], heading: tuple[str, str], texts: dict[str, str]) -> FigureFile:
    """Draw `pointing.png`.

    Args:
        rows: of `scores.csv`, the pointing of one class and of each text segment.
        heading: title and subtitle.
        texts: what the PNG says of itself.
    """
    segments = list(dict.fromkeys(row["segment"] for row in rows if row["segment"]))
    rows = [row for row in rows if row["segment"]]
    labels = list(dict.fromkeys(_label(row) for row in rows if _label(row)))
    steps = [row for row in rows if row["pooling"] == "step"]
    height = max(len(labels), LEAST_ROWS) * ROW + FOOT
    names = [*segments, "chance", "a blob in the middle"]
    panels = 2 if steps else 1
    size = (NAMES + PANEL * panels, height)
    figure, charts = new_charts(heading, size, legend=names, ncols=panels)
    _draw_layers(charts[0], rows, labels, segments)
    if steps:
        _draw_steps(charts[1], steps, segments)
    lines = [
        *(
            Line2D([], [], color=COLOURS[at], marker="o", markersize=5)
            for at in range(len(segments))
        ),
        Line2D([], [], color=FAINT, linestyle=":"),
        Line2D([], [], color=INK, linestyle="--"),
    ]
    show_names(figure, lines, names)
    return FigureFile(PATH, figure, texts)


def _draw_layers(
    axes: Axes, rows: Sequence[Row], labels: Sequence[str], segments: Sequence[str]
) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    for row in rows:
        if _label(row) in labels:
            index = segments.index(row["segment"])
            level = labels.index(_label(row)) + _offset(index, len(segments))
            draw_interval(axes, (row["low"], row["high"]), level, COLOURS[index], width=1.4)
            axes.plot([row["mean"]], [level], "o", color=COLOURS[index], markersize=5)
    pooled = sum(label in POOLED.values() for label in labels)
    axes.axhline(pooled - 0.5, color=RULE, linewidth=0.8)
    for at, dashes, colour in _marks(rows):
        axes.axvline(at, color=colour, linestyle=dashes, linewidth=1, zorder=0)
    axes.set_yticks(range(len(labels)), [short(label, LETTERS) for label in labels])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))
    axes.tick_params(labelsize=8.5, length=0, labelcolor=INK, labelfontfamily=FAMILY)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    write_title(axes, "by layer", "line: 95 % interval over images", size=10.5)


def _draw_steps(axes: Axes, rows: Sequence[Row], segments: Sequence[str]) -> None:
    for index, segment in enumerate(segments):
        of = [row for row in rows if row["segment"] == segment]
        steps = [row["step"] for row in of]
        low, high = ([row[end] for row in of] for end in ("low", "high"))
        if np.isfinite([*low, *high]).all():
            axes.fill_between(steps, low, high, color=COLOURS[index], alpha=0.15, linewidth=0)
        axes.plot(steps, [row["mean"] for row in of], color=COLOURS[index])
    for at, dashes, colour in _marks(rows):
        axes.axhline(at, color=colour, linestyle=dashes, linewidth=1, zorder=0)
    dress(axes, 1.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))
    mark_steps(axes)
    write_title(axes, "by step", "mean of all layers; shaded: 95 % interval", size=10.5)


def _marks(rows: Sequence[Row]) -> list[tuple[float, str, str]]:
    """Return where chance and the blob in the middle are, on the finest grid."""
    return [(rows[0]["chance"], ":", FAINT), (rows[0]["centre"], "--", INK)]


def _offset(index: int, count: int) -> float:
    return 0.0 if count == 1 else APART * (index / (count - 1) - 0.5)


def _label(row: Row) -> str:
    """Return the name of a row of the figure; nothing for what is in the other panel."""
    return row["layer_name"] if row["pooling"] == "layer" else POOLED.get(row["pooling"], "")
