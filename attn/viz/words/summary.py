"""The summary page of a collection: curves as means over its traces, with their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from attn.analysis.digest import Gathered
from attn.viz.charts import new_charts
from attn.viz.figures import FigureFile
from attn.viz.labels import printable
from attn.viz.lines import (
    Look,
    dress,
    lay_out_time,
    layer_room,
    look_handles,
    mark_layers,
    mark_time,
    name_axes,
    name_time,
    style,
)
from attn.viz.page import FAMILY, write_title
from attn.viz.style import INK
from attn.viz.words.word_colours import word_looks

COLUMNS = 2
PLOT = (5.9, 4.3)  # inches of a plot with all that is written at it
FEW = 4  # names beside each other
LEGEND = 0.55  # below the axes, inches
SPREAD = (10.0, 90.0)
"""Percentiles over traces between which the band is drawn."""


def draw_summary(
    digests: Mapping[str, Gathered], heading: tuple[str, str], vocabulary: Sequence[str] = ()
) -> FigureFile:
    """Draw a plot per digest: for every series its mean over traces, and a band of its spread.

    A word has one colour in all plots.

    Args:
        digests: by title, in the order in which they are drawn; how many traces are left out since
            they differ from the first in x, the plot says.
        heading: what collection this is.
        vocabulary: words of all figures of the command, which have one colour in all of them.
    """
    rows = -(-len(digests) // COLUMNS)
    room = max(layer_room(gathered.first.names) for gathered in digests.values())
    size = (COLUMNS * PLOT[0], rows * (PLOT[1] + room))
    low, high = SPREAD
    spread = f"line: mean, band: {low:.0f}th to {high:.0f}th percentile of traces"
    title, subtitle = heading
    heading = title, f"{subtitle} · {spread}"
    figure, panels = new_charts(heading, size, nrows=rows, ncols=COLUMNS)
    for axes in panels[len(digests) :]:
        axes.remove()
    words = dict.fromkeys(
        name for of in digests.values() if of.first.is_of_prompt for name in of.series
    )
    looks = dict(zip(words, word_looks(list(words), vocabulary), strict=True))
    for axes, (title, gathered) in zip(panels, digests.items(), strict=False):
        every = looks if gathered.first.is_of_prompt else {}
        _draw(
            axes,
            gathered,
            title,
            [every.get(name, style(at)) for at, name in enumerate(gathered.series)],
        )
    return FigureFile("summary.png", figure, {"unit": spread})


def _draw(axes: Axes, digest: Gathered, title: str, looks: Sequence[Look]) -> None:
    """Draw one plot; `looks` are those of the series' lines."""
    first, across = digest.first, digest.first.axis
    time = lay_out_time(first.x, first.noise) if across == "step" else None
    x = np.arange(len(first.x), dtype=np.float64) if time is None else time.x
    top = 0.0
    gathered = [digest.values(name) for name in digest.series]
    for look, values in zip(looks, gathered, strict=True):
        top = max(top, _draw_series(axes, x, values, look))
    dress(axes, 1.05 * top)
    if time is None:
        mark_layers(axes, list(first.x), first.names)
        name_axes(axes, across, "")
    else:
        mark_time(axes, time)
        name_time(axes, time)
    counts = sorted({len(values) for values in gathered})
    count = str(counts[-1]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    remark = f"{first.unit} · n = {count}"
    if digest.others:
        remark += f", {digest.others} with other {across}s left out"
    write_title(axes, title, remark, size=10.5)
    names = [printable(name) for name in digest.series]
    _name_series(axes, names, looks, layer_room(first.names))


def _draw_series(
    axes: Axes, x: NDArray[np.float64], values: NDArray[np.float64], look: Look
) -> float:
    """Draw a line and its band, and return how high they reach."""
    present = values[:, ~np.isnan(values).all(axis=0)]
    x = x[~np.isnan(values).all(axis=0)]
    if not x.size:
        return 0.0
    colour, dashes = look
    low, high = np.nanpercentile(present, SPREAD, axis=0)
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, np.nanmean(present, axis=0), dashes, color=colour, linewidth=1.5, marker=".")
    return float(high.max())


def _name_series(axes: Axes, names: Sequence[str], looks: Sequence[Look], room: float) -> None:
    """Name lines below axes and the names of their layers, which take some inches."""
    below = ScaledTranslation(0, -(LEGEND + room), axes.figure.dpi_scale_trans)
    axes.legend(
        look_handles(looks),
        list(names),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes + below,
        borderpad=0,
        borderaxespad=0,
        ncols=FEW,
        frameon=False,
        labelcolor=INK,
        prop={"family": FAMILY, "size": 7.5},
    )
