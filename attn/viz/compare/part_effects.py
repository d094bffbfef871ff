"""Which part of a LoRA carries its effect: what each gives alone, and what is lost without it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import BASE, VARIANTS, style
from attn.viz.figures import FigureFile
from attn.viz.intervals import draw_interval, limit_intervals
from attn.viz.labels import short
from attn.viz.page import FAMILY, write_title
from attn.viz.style import FAINT, GRID, INK, RULE

KINDS = {"alone": "this part alone gives", "without": "lost without it"}
COLOURS = {"alone": VARIANTS[0], "without": VARIANTS[2]}
ROW, FOOT, NAMES, PANEL = 0.34, 0.9, 2.3, 3.9  # inches
LETTERS = 26
BAR = 0.36
MOST = 0.5
"""Without a part most is lost if less than this is left."""

Row = Mapping[str, Any]


def draw_parts(
    rows: Sequence[Row], heading: tuple[str, str], path: str, texts: dict[str, str]
) -> FigureFile:
    """Draw the effect of each part of one LoRA or stack, in % of the whole's.

    Both bars of a part that carries the effect are long. Parts without which most is lost are
    marked, where their intervals show that.

    Args:
        rows: of `parts.csv`, those of one whole.
        heading: title and subtitle.
        path: of the figure.
        texts: what the PNG says of itself.
    """
    parts = list(dict.fromkeys(row["part"] for row in rows))
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    names = [KINDS[kind] for kind in kinds]
    size = (NAMES + PANEL * len(measures), max(len(parts), 2) * ROW + FOOT)
    figure, charts = new_charts(heading, size, legend=names, ncols=len(measures), sharey=True)
    for axes, measure in zip(charts, measures, strict=True):
        of = [row for row in rows if row["measure"] == measure]
        _draw_measure(axes, of, parts, kinds)
        write_title(axes, _title(of[0]), "% of the whole's effect", size=10.5)
    charts[0].set_yticks(range(len(parts)), [_label(rows, part) for part in parts])
    show_names(figure, [Patch(color=COLOURS[kind]) for kind in kinds], names)
    return FigureFile(path, figure, texts)


def carriers(rows: Sequence[Row]) -> list[str]:
    """Return the parts without which less than half is left, as far as intervals show."""
    return [row["part"] for row in rows if row["kind"] == "without" and row["high"] < MOST]


def _draw_measure(
    axes: Axes, rows: Sequence[Row], parts: Sequence[str], kinds: Sequence[str]
) -> None:
    bars = [(row, *_bar(row)) for row in rows if math.isfinite(row["ratio"])]
    points, intervals = [value for _, value, _ in bars], [interval for *_, interval in bars]
    axes.set_xlim(limit_intervals([*points, 100.0], intervals))
    axes.set_ylim(max(len(parts), 2) - 0.5, -0.5)
    marked = carriers(rows)
    for part in marked:
        axes.axhspan(parts.index(part) - 0.5, parts.index(part) + 0.5, color=GRID, zorder=0)
    for row, value, interval in bars:
        level = parts.index(row["part"]) + (kinds.index(row["kind"]) - (len(kinds) - 1) / 2) * BAR
        axes.barh(level, value, BAR * 0.9, color=COLOURS[row["kind"]], zorder=2)
        draw_interval(axes, interval, level, INK, width=1.1)
    for at, colour in ((0, RULE), (100, BASE)):
        axes.axvline(at, color=colour, linewidth=1, linestyle="-" if at == 0 else "--")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g} %"))
    has_intervals = any(not math.isnan(low) for low, _ in intervals)
    grey = " · grey: most is lost without it" if marked else ""
    axes.set_xlabel(
        f"line: 95 % interval{grey}" if has_intervals else "too few pairs for intervals",
        fontsize=8.5,
        color=FAINT,
        fontfamily=FAMILY,
    )
    style(axes, across=True)


def _bar(row: Row) -> tuple[float, tuple[float, float]]:
    """Return what a part gives, or what is lost without it, with its interval, in %."""
    ends = row["low"], row["high"]
    if row["kind"] == "without":
        return 100 * (1 - row["ratio"]), (100 * (1 - ends[1]), 100 * (1 - ends[0]))
    return 100 * row["ratio"], (100 * ends[0], 100 * ends[1])


def _title(row: Row) -> str:
    return f"“{row['word']}”" if row["measure"] == "word" else "image"


def _label(rows: Sequence[Row], part: str) -> str:
    """Return a part's name, with that of block-weight tools."""
    kohya = next(row["kohya"] for row in rows if row["part"] == part)
    name = "text encoders" if kohya == "BASE" else part.partition(",")[0]
    return short(f"{name} · {kohya}" if kohya else name, LETTERS)
