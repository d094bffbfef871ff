"""Changes of words as points with intervals, a row per word and a lane per variant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.compare.changes import TermChange
from attn.analysis.compare.terms import Key
from attn.viz.compare.comparison_scene import (
    FEW_PAIRS,
    VARIANTS,
    name_terms,
    signed,
    style,
    variant_colours,
)
from attn.viz.intervals import draw_interval, limit_intervals
from attn.viz.page import FAMILY
from attn.viz.style import FAINT, RULE
from attn.wording import count_noun
from attn.words import is_content

MOST = len(VARIANTS)
"""So many variants are drawn; the tables have all."""
WORDS, FEWER = 8, 5
"""So many words are drawn, those that changed most: with up to `FEW` variants, and with more."""
FEW = 2
"""Up to so many variants have wide lanes."""
LETTERS, NAME = 17, 0.083  # of a word at the left of the plot, and the width of one
ROW = 0.13  # height of a word without its lanes
LANE, NARROW_LANE = 0.21, 0.14  # of each variant of a word: with up to `FEW` variants, and more
LINES = "line{}: 95 % interval · filled: leaves 0 out"
GOES_ON = " (arrow: goes on)"

Changes = Sequence[Sequence[TermChange]]
"""One list for each variant."""


def lane_height(changes: Changes) -> float:
    """Return how high the lane of a variant is, in inches."""
    return LANE if len(changes) <= FEW else NARROW_LANE


def say_hidden(hidden: int) -> str:
    """Return the end of a heading that names variants which are not drawn, if any."""
    return f" · {count_noun(hidden, 'more variant')} in the tables" if hidden > 0 else ""


def leading(changes: Changes) -> list[Key]:
    """Return the words that changed most in any variant, the largest change first.

    Articles, prepositions and the like are behind all content words that changed, too.
    """
    largest: dict[Key, float] = {}
    for entry in (entry for listed in changes for entry in listed):
        size = abs(float(entry.change.change))
        largest[entry.term.key] = max(largest.get(entry.term.key, 0.0), size)
    count = WORDS if len(changes) <= FEW else FEWER
    telling = {
        entry.term.key for listed in changes for entry in listed if is_content(entry.term.text)
    }

    def rank(key: Key) -> tuple[bool, float, bool]:
        return largest[key] == 0 or key not in telling, -largest[key], key not in telling

    return sorted(largest, key=rank)[:count]


def name_words(changes: Changes) -> dict[Key, str]:
    """Return the labels of the words at the left of a plot."""
    return name_terms([entry.term for listed in changes for entry in listed], LETTERS)


def levels(
    changes: Changes, keys: Sequence[Key], lane: float
) -> list[tuple[TermChange, int, float]]:
    """Return every change of some words with the number of its variant and its height.

    Args:
        changes: what changed.
        keys: of the words, from the top.
        lane: height of a variant's lane, as a part of a word's row.
    """
    return [
        (entry, number, keys.index(entry.term.key) + (number - (len(changes) - 1) / 2) * lane)
        for number, listed in enumerate(changes)
        for entry in listed
        if entry.term.key in keys
    ]


def draw_points(axes: Axes, changes: Changes, keys: Sequence[Key], lane: float, about: str) -> None:
    """Draw every word's change with its interval, in %, the first word on top.

    A filled point means that the interval leaves 0 out.

    Args:
        axes: where.
        changes: what changed.
        keys: of the words, from the top.
        lane: height of a variant's lane, as a part of a word's row.
        about: what the numbers are.
    """
    shown = levels(changes, keys, lane)
    intervals = [(float(entry.change.low), float(entry.change.high)) for entry, _, _ in shown]
    axes.set_xlim(limit_intervals([float(entry.change.change) for entry, _, _ in shown], intervals))
    goes_on, colours = False, variant_colours(len(changes))
    for (entry, number, level), interval in zip(shown, intervals, strict=True):
        goes_on |= draw_interval(axes, interval, level, colours[number])
        face = colours[number] if interval[0] > 0 or interval[1] < 0 else "white"
        _draw_point(axes, float(entry.change.change), level, (colours[number], face))
    names = name_words(changes)
    axes.axvline(0, color=RULE, linewidth=1)
    axes.set_ylim(max(len(keys), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(keys)), [names[key] for key in keys])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(100 * value)))
    style(axes, across=True)
    has_intervals = not np.isnan([low for low, _ in intervals]).all()
    lines = LINES.format(GOES_ON if goes_on else "") if has_intervals else FEW_PAIRS
    axes.set_xlabel(f"{about}\n{lines}", fontsize=8.5, color=FAINT, fontfamily=FAMILY)


def _draw_point(axes: Axes, change: float, level: float, colours: tuple[str, str]) -> None:
    edge, face = colours
    axes.plot([change], [level], "o", color=edge, markersize=5.5, markerfacecolor=face, zorder=3)
