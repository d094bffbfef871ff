"""A sweep as curves: the leading word, the images and all other words against the scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.compare.changes import TermChange, by_part, content_only
from attn.analysis.compare.images import VISIBLE
from attn.analysis.compare.sweep import Sweep, change_of, mean_level
from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import (
    BASE,
    ComparisonScene,
    name_terms,
    say_shown,
    signed,
    style,
)
from attn.viz.figures import FigureFile
from attn.viz.lines import Look
from attn.viz.page import FAMILY, write_title
from attn.viz.style import FAINT, INK, RULE
from attn.viz.words.word_colours import word_looks

MOST = 8
"""So many other words are drawn, those that changed most as a part of theirs; tables have all."""
CHANGE = "change of mass, % of the baseline's"
SIZE = (12.0, 3.9)  # inches of the three panels
LETTERS = 18
TICKS = 9
"""Up to so many scales are marked each."""

Point = tuple[float, float, float]
"""A mean with its interval."""


def draw_sweep(scene: ComparisonScene, sweep: Sweep, vocabulary: Sequence[str] = ()) -> FigureFile:
    """Draw `sweep.png`.

    The baseline is the point where nothing changed. Bands are 95 % intervals. From where on the
    sweep works, and from where on images break, is marked, or said to be nowhere; a dotted line is
    the level from which on images differ visibly. Words change by a part of what they have in the
    baseline; the leading one has an axis of its own.

    Args:
        scene: the baseline and the variants.
        sweep: what varies.
        vocabulary: words of all figures of the command, which have one colour in all of them.
    """
    others = _others(sweep)
    names = name_terms([entry.term for entry in others], LETTERS)
    legend = [names[entry.term.key] for entry in others]
    total = len({entry.term.key for point in sweep.points for entry in point.changes}) - 1
    shown = say_shown(len(others), max(total, 0), "other words")
    has_intervals = sweep.has_intervals
    band = "band: 95 % interval" if has_intervals else "too few pairs for intervals"
    nowhere = " nowhere" if has_intervals else ": too few images to tell"
    subtitle = f"{scene.subtitle} · {band}{shown}"
    heading = (scene.title_of_charts, subtitle)
    figure, (word, images, rest) = new_charts(heading, SIZE, legend=legend, ncols=3)
    labels = [entry.term.label for entry in filter(None, (sweep.word, *others))]
    looks = word_looks(labels, vocabulary)
    if sweep.word is not None:
        _curve(word, sweep, _parts(sweep, sweep.word), looks.pop(0)[0])
        _say(word, sweep.works, f"works from {_call(sweep, sweep.works)}", f"works{nowhere}")
        write_title(word, sweep.word.term.label, CHANGE, size=10.5)
    _curve(images, sweep, [mean_level(point.levels) for point in sweep.points], BASE)
    _say(images, sweep.breaks, f"breaks from {_call(sweep, sweep.breaks)}", f"breaks{nowhere}")
    seen = "not shown to be visible" if sweep.visible is None else ""
    seen = seen or f"visible from {_call(sweep, sweep.visible)}"
    _say(images, None, "", seen if has_intervals else "", line=1)
    images.axhline(VISIBLE, color=FAINT, linewidth=1, linestyle=":")
    write_title(images, "image", "levels of 255 · dotted: visible", size=10.5)
    handles = [_other(rest, sweep, *of) for of in zip(others, looks, strict=True)]
    write_title(rest, "other words", CHANGE, size=10.5)
    for axes in (word, images, rest):
        _dress(axes, sweep, in_percent=axes is not images)
    if handles:
        show_names(figure, handles, legend)
    return FigureFile("sweep.png", figure, scene.texts | {"varies": sweep.name})


def _others(sweep: Sweep) -> list[TermChange]:
    """Return the words that changed most beside the leading one, each once."""
    lead = None if sweep.word is None else sweep.word.term.key
    entries = [entry for point in sweep.points for entry in point.changes]
    others = content_only(entry for entry in entries if entry.term.key != lead)
    by_key: dict[object, TermChange] = {}
    for entry in by_part(others):
        by_key.setdefault(entry.term.key, entry)
    return list(by_key.values())[:MOST]


def _parts(sweep: Sweep, word: TermChange) -> list[Point]:
    """Return the change of a word at every scale, as a part of its mass in the baseline.

    NaN stands where the word is not there, or has nothing in the baseline.
    """
    entries = [change_of(point, word) for point in sweep.points]
    return [(np.nan,) * 3 if entry is None else _part(entry) for entry in entries]


def _part(entry: TermChange) -> Point:
    base = float(entry.change.base) or np.nan
    change, low, high = (
        float(of) / base for of in (entry.change.change, entry.change.low, entry.change.high)
    )
    return change, low, high


def _lay_out(sweep: Sweep, values: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return scales, with the baseline's among them, and (scale, 3) of what is there."""
    at = [sweep.base, *(point.scale for point in sweep.points)]
    order = np.argsort(at, kind="stable")
    return np.array(at)[order], np.array([(0.0, 0.0, 0.0), *values])[order]


def _curve(axes: Axes, sweep: Sweep, values: Sequence[Point], colour: str) -> None:
    at, points = _lay_out(sweep, values)
    axes.fill_between(at, points[:, 1], points[:, 2], color=colour, alpha=0.2, linewidth=0)
    axes.plot(at, points[:, 0], "o-", color=colour, linewidth=1.8, markersize=4.5)


def _other(axes: Axes, sweep: Sweep, word: TermChange, look: Look) -> Line2D:
    at, points = _lay_out(sweep, _parts(sweep, word))
    colour, dashes = look
    (line,) = axes.plot(at, points[:, 0], color=colour, linestyle=dashes, linewidth=1.4)
    axes.fill_between(at, points[:, 1], points[:, 2], color=colour, alpha=0.12, linewidth=0)
    return line


def _say(axes: Axes, scale: float | None, there: str, nowhere: str, line: int = 0) -> None:
    """Mark a scale with an upright line, or say that there is none; at a line from the top."""
    if scale is not None:
        axes.axvline(scale, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
        nowhere if scale is None else there,
        (0.03, 0.97),
        (0, -13 * line),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=FAINT if scale is None else INK,
        fontfamily=FAMILY,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        zorder=5,
    )


def _dress(axes: Axes, sweep: Sweep, *, in_percent: bool) -> None:
    at = sorted({sweep.base, *(point.scale for point in sweep.points)})
    if len(at) <= TICKS or sweep.files:
        shown = at[:: math.ceil(len(at) / TICKS)]
        axes.set_xticks(shown, [sweep.spell(scale) for scale in shown])
    axes.axhline(0, color=RULE, linewidth=1)
    axes.margins(y=0.18)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    spell = (lambda part: signed(100 * part)) if in_percent else "{:.6g}".format
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: spell(value)))
    if not in_percent:  # images never differ by less than nothing
        axes.set_ylim(bottom=0)
    unit = f"{sweep.unit} of " if sweep.unit and not sweep.files else ""
    axes.set_xlabel(f"{unit}{sweep.name} (baseline {sweep.spell(sweep.base)})", color=FAINT)
    style(axes, across=False)


def _call(sweep: Sweep, scale: float | None) -> str:
    if scale is None:
        return ""
    return f"{sweep.call(scale)}{' (first tried)' if sweep.is_first(scale) else ''}"
