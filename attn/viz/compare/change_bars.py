"""Bars of how much attention words get: base against variant, and one run by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.compare.changes import TermChange
from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import (
    BASE,
    VARIANT,
    ComparisonScene,
    name_terms,
    say_shown,
    signed,
    style,
)
from attn.viz.figures import FigureFile
from attn.viz.intervals import draw_interval, limit_bars, limit_intervals, mark_beyond
from attn.viz.labels import short
from attn.viz.page import FAMILY, write_at_edge, write_title
from attn.viz.style import FAINT, GRID, INK, RULE
from attn.wording import digits

MOST = 24
"""So many words are drawn, those that changed most; the tables have all."""
ROW = 0.4  # height of a word
LETTERS = 18  # of a word
NAMES, LEFT, RIGHT = 1.4, 4.6, 4.2  # widths: of words, and of both panels
FOOT = 0.8


def draw_change_bars(scene: ComparisonScene) -> FigureFile:
    """Draw `attention_comparison.png`: mass with and without, and its change, word by word."""
    changes = list(scene.changes[0])[:MOST]
    labels = list(name_terms([entry.term for entry in changes], LETTERS).values())
    legend = [short(side.label, 30) for side in scene.sides[:2]]
    subtitle = scene.subtitle + say_shown(len(changes), len(scene.changes[0]))
    size = (NAMES + LEFT + RIGHT, max(len(changes), 2) * ROW + FOOT)
    heading, ratios = (scene.title_of_charts, subtitle), (LEFT, RIGHT)
    figure, (left, right) = new_charts(heading, size, legend=legend, ncols=2, width_ratios=ratios)
    _draw_masses(left, changes, labels)
    _draw_changes(right, changes)
    show_names(figure, [Patch(facecolor=BASE), Patch(facecolor=VARIANT)], legend)
    return FigureFile("attention_comparison.png", figure, scene.texts)


def draw_distribution(
    labels: Sequence[str],
    masses: Sequence[float],
    indices: Sequence[int],
    heading: tuple[str, str],
) -> Figure:
    """Draw the masses of words in one run: each as it is, and how many of the largest have most.

    Args:
        labels: of the words.
        masses: of the words, probability.
        indices: of the words that are drawn; the parts are of all words.
        heading: title and subtitle of the page.
    """
    title, subtitle = heading
    order = sorted(indices, key=lambda word: -masses[word])[:MOST]
    kept = sorted(order)
    total = float(np.sum(masses)) or 1.0
    subtitle += say_shown(len(kept), len(labels))
    size = (2 * (NAMES + RIGHT), max(len(kept), 2) * ROW * 0.8 + FOOT)
    figure, (left, right) = new_charts((title, subtitle), size, ncols=2)
    mass = [100 * float(masses[word]) for word in kept]
    _draw_bars(left, [labels[word] for word in kept], mass, mass)
    write_title(left, "Mass, in the order of the prompt", "% of all attention", size=10.5)
    parts = [100 * float(masses[word]) / total for word in order]
    sums = [float(at) for at in np.cumsum(parts)]
    right.barh(range(len(sums)), sums, 0.66, color=GRID)
    _draw_bars(right, [labels[word] for word in order], parts, sums)
    right.set_xlim(0, 100)
    write_title(right, "Ranked; pale: added up", "% of what all words get", size=10.5)
    return figure


def _draw_bars(
    axes: Axes, labels: Sequence[str], values: Sequence[float], numbers: Sequence[float]
) -> None:
    """Draw a bar for each word, and at the right of the chart a number in %."""
    axes.barh(range(len(values)), values, 0.66, color=BASE)
    for level, number in enumerate(numbers):
        write_at_edge(axes, f"{digits(number)} %", level, FAINT)
    _label(axes, [short(label, LETTERS) for label in labels])
    axes.set_xlim(0, max(values, default=1.0) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    style(axes, across=True)


def _draw_masses(axes: Axes, changes: Sequence[TermChange], labels: Sequence[str]) -> None:
    masses = [(float(entry.change.base), float(entry.change.variant)) for entry in changes]
    intervals = [
        (base + float(entry.change.low), base + float(entry.change.high))
        for entry, (base, _) in zip(changes, masses, strict=True)
    ]
    values = [value for both in masses for value in both]
    axes.set_xlim(0, limit_intervals(values, intervals)[1])
    for level, ((base, variant), interval) in enumerate(zip(masses, intervals, strict=True)):
        axes.barh(level - 0.19, base, 0.36, color=BASE)
        axes.barh(level + 0.19, variant, 0.36, color=VARIANT)
        draw_interval(axes, interval, level + 0.19, INK, width=1.1)
    _label(axes, labels)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    has_intervals = np.isfinite(intervals).any()
    axes.set_xlabel(
        "mass: attention probability · "
        + ("line: 95 % interval of the change" if has_intervals else "too few pairs for intervals"),
        fontsize=8.5,
        color=FAINT,
        fontfamily=FAMILY,
    )
    style(axes, across=True)


def _draw_changes(axes: Axes, changes: Sequence[TermChange]) -> None:
    relative = np.array([float(entry.change.relative) for entry in changes])
    axes.set_xlim(limit_bars(list(100 * relative)))
    for level, value in enumerate(relative):
        if np.isfinite(value):
            axes.barh(level, 100 * value, 0.6, color=VARIANT)
            mark_beyond(axes, (100 * value, 100 * value), level, VARIANT)
            write_at_edge(axes, f"{signed(100 * value)} %", level, INK)
    _label(axes, [""] * len(changes))
    axes.axvline(0, color=RULE, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
    axes.set_xlabel(
        "change, % of the baseline's mass", fontsize=8.5, color=FAINT, fontfamily=FAMILY
    )
    style(axes, across=True)


def _label(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_ylim(max(len(labels), 2) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
