"""How much each cut changes, beside as much cut at random; and more and more heads, as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import BASE, RANDOM, VARIANT, style
from attn.viz.figures import FigureFile
from attn.viz.intervals import draw_interval, limit_intervals
from attn.viz.labels import short
from attn.viz.page import write_title
from attn.viz.style import FAINT, RULE

PATH, CURVES = "cuts.png", "weakening.png"
ROW, FOOT, NAMES, PANEL = 0.3, 0.9, 2.3, 3.9  # inches
LETTERS, LEAST_ROWS = 28, 3
SHOWN = 40
"""So many cuts are drawn, those of largest effect; the table has all."""
APART = 0.18
TITLES = {
    "level": ("the image", "levels of 255"),
    "aimed": ("inside of the word's map more than outside", "levels of 255"),
    "token": ("tokens that are others", "part of the text"),
    "confidence": ("confidence of what is written", "change of the probability"),
    "order": ("order of unmasking", "part of the pairs that changed"),
}
"""Panels by measure; the first one that there is decides the order of the cuts."""

SHAPES = {
    "colour": ("colour", "part of the images"),
    "shape": ("shape", "part of the images"),
}
"""Panels of captions of the shapes world."""
ORDERS = {"most": VARIANT, "least": BASE}

Row = Mapping[str, Any]


def draw_cuts(rows: Sequence[Row], heading: tuple[str, str], texts: dict[str, str]) -> FigureFile:
    """Draw `cuts.png`.

    Args:
        rows: of `cuts.csv`.
        heading: title and subtitle.
        texts: what the PNG says of itself.
    """
    measures = [name for name in TITLES if any(row["measure"] == name for row in rows)]
    first = [row for row in rows if row["measure"] == measures[0]]
    ranked = sorted(first, key=lambda row: -row["change"])
    cuts = [row["cut"] for row in ranked][:SHOWN]
    names = ["cut", "as much at random"] if any(row["controls"] for row in rows) else ["cut"]
    size = (NAMES + PANEL * len(measures), max(len(cuts), LEAST_ROWS) * ROW + FOOT)
    figure, charts = new_charts(heading, size, legend=names, ncols=len(measures), sharey=True)
    for axes, measure in zip(charts, measures, strict=True):
        shown = [row for row in rows if row["measure"] == measure and row["cut"] in cuts]
        _draw_measure(axes, shown, cuts)
        write_title(axes, *TITLES[measure], size=10.5)
    labels = [short(cut.removesuffix(" cut"), LETTERS) for cut in cuts]
    charts[0].set_yticks(range(len(cuts)), labels)
    lines = [Line2D([], [], color=colour, marker="o", markersize=5) for colour in (VARIANT, RANDOM)]
    show_names(figure, lines[: len(names)], names)
    return FigureFile(PATH, figure, texts)


def _draw_measure(axes: Axes, rows: Sequence[Row], cuts: Sequence[str]) -> None:
    points = [
        (row, name, at, colour)
        for row in rows
        for name, at, colour in (("", -1, VARIANT), ("random_", 1, RANDOM))
        if not isnan(row[f"{name}change"])
    ]
    values = [row[f"{name}change"] for row, name, *_ in points]
    intervals = [(row[f"{name}low"], row[f"{name}high"]) for row, name, *_ in points]
    axes.set_xlim(limit_intervals(values, intervals))
    axes.set_ylim(max(len(cuts), LEAST_ROWS) - 0.5, -0.5)
    for (row, _, at, colour), value, interval in zip(points, values, intervals, strict=True):
        level = cuts.index(row["cut"]) + (at * APART if row["controls"] else 0)
        draw_interval(axes, interval, level, colour, width=1.4)
        axes.plot([value], [level], "o", color=colour, markersize=5)
    axes.axvline(0, color=RULE, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    style(axes, across=True)


def draw_weakening(
    rows: Sequence[Row], heading: tuple[str, str], texts: dict[str, str]
) -> FigureFile:
    """Draw `weakening.png`.

    Args:
        rows: of `weakening.csv`.
        heading: title and subtitle.
        texts: what the PNG says of itself.
    """
    measures = [name for name in TITLES | SHAPES if any(row["measure"] == name for row in rows)]
    names = [f"{order} relevant first" for order in ORDERS]
    size = PANEL * len(measures), PANEL
    figure, charts = new_charts(heading, size, legend=names, ncols=len(measures))
    for axes, measure in zip(charts, measures, strict=True):
        for order, colour in ORDERS.items():
            _curve(
                axes,
                [of for of in rows if (of["measure"], of["order"]) == (measure, order)],
                colour,
            )
        write_title(axes, *(TITLES | SHAPES)[measure], size=10.5)
        axes.axhline(0, color=RULE, linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("heads weakened", color=FAINT)
        style(axes, across=False)
    show_names(figure, [Line2D([], [], color=of, marker="o") for of in ORDERS.values()], names)
    return FigureFile(CURVES, figure, texts)


def _curve(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    """Draw a curve from no head, where nothing changes, with the band of its intervals."""
    counts = [0, *(int(row["heads"]) for row in rows)]
    means, lows, highs = ([0.0, *(row[name] for row in rows)] for name in ("change", "low", "high"))
    axes.fill_between(counts, lows, highs, color=colour, alpha=0.2, linewidth=0)
    axes.plot(counts, means, "o-", color=colour, linewidth=1.8, markersize=4.5)
