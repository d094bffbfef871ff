"""What weakening heads changes, against how many: most relevant first, and least relevant first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import BASE, VARIANTS, style
from attn.viz.figures import FigureFile
from attn.viz.page import write_title
from attn.viz.style import FAINT, RULE

PATH = "weakening.png"
PANEL = 3.9  # inches
TITLES = {
    "level": ("the picture", "levels of 255"),
    "colour": ("colour", "part of the pictures"),
    "shape": ("shape", "part of the pictures"),
    "token": ("tokens that are others", "part of the text"),
    "confidence": ("confidence of what is written", "change"),
    "order": ("order of unmasking", "part of the pairs"),
}
ORDERS = {"most": VARIANTS[0], "least": BASE}

Row = Mapping[str, Any]


def draw_weakening(
    rows: Sequence[Row], heading: tuple[str, str], texts: dict[str, str]
) -> FigureFile:
    """Draw `weakening.png`.

    Args:
        rows: of `weakening.csv`.
        heading: title and subtitle.
        texts: what the PNG says of itself.
    """
    measures = [name for name in TITLES if any(row["measure"] == name for row in rows)]
    names = [f"{order} relevant first" for order in ORDERS]
    size = (PANEL * len(measures), PANEL)
    figure, charts = new_charts(heading, size, legend=names, ncols=len(measures))
    for axes, measure in zip(charts, measures, strict=True):
        for order, colour in ORDERS.items():
            _curve(
                axes,
                [of for of in rows if (of["measure"], of["order"]) == (measure, order)],
                colour,
            )
        write_title(axes, *TITLES[measure], size=10.5)
        axes.axhline(0, color=RULE, linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("heads weakened", color=FAINT)
        style(axes, across=False)
    show_names(figure, [Line2D([], [], color=of, marker="o") for of in ORDERS.values()], names)
    return FigureFile(PATH, figure, texts)


def _curve(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    """Draw a curve from no head, where nothing changes, with the band of its intervals."""
    counts = [0, *(int(row["heads"]) for row in rows)]
    means, lows, highs = ([0.0, *(row[name] for row in rows)] for name in ("change", "low", "high"))
    axes.fill_between(counts, lows, highs, color=colour, alpha=0.2, linewidth=0)
    axes.plot(counts, means, "o-", color=colour, linewidth=1.8, markersize=4.5)
