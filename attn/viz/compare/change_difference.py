"""Where a variant differs from the baseline: the image, and the attention to each word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from attn.analysis.compare.changes import TermChange, content_first
from attn.analysis.compare.images import ImageDifference
from attn.viz.charts import new_charts, show_scale
from attn.viz.compare.comparison_scene import (
    DIVERGING,
    ComparisonScene,
    name_terms,
    say_shown,
    signed,
)
from attn.viz.figures import FigureFile
from attn.viz.overlay import COLOURS, DIM, colour_scale
from attn.viz.page import TITLE, write_title

MOST = 11
"""So many words are drawn, content words that changed most first; the tables have all."""
COLUMNS = 4
PANEL, BARS = 2.5, 1.3  # inches of a panel, and of the bars below all
LETTERS = 18
PALE = "\na pale panel: the word changes little beside others; a scale of its own shows where"
MASK, HATCH = "#c3c7cd", "////"
"""Colour and kind of the thin lines on bare paper where the interval holds 0."""


def draw_difference(
    scene: ComparisonScene,
    changes: Sequence[TermChange],
    image: ImageDifference | None,
    scale: Literal["auto", "shared", "own"] = "auto",
) -> Iterator[FigureFile]:
    """Draw `difference.png`: variant minus baseline, mean over all pairs.

    With `auto` words are on one scale, and in `difference-own-scale.png` each is on its own.

    Cells of words whose 95 % interval holds 0 are bare paper with thin lines: paler than any change
    that is shown. Scales of words are symmetric about 0.

    Args:
        scene: what is compared; its first variant.
        changes: of words' maps, cells (row, column), the largest change first; articles and the
            like are drawn behind content words.
        image: mean absolute difference of the images, or None.
        scale: one for all words, each word's `own`, or a figure of each kind.
    """
    figure = _draw(scene, changes, image, is_own=scale == "own")
    yield FigureFile("difference.png", figure, scene.texts)
    if scale == "auto" and changes:
        figure = _draw(scene, changes, image, is_own=True)
        yield FigureFile("difference-own-scale.png", figure, scene.texts)


def _draw(
    scene: ComparisonScene,
    changes: Sequence[TermChange],
    image: ImageDifference | None,
    *,
    is_own: bool,
) -> Figure:
    """Draw the image and the words on one page."""
    words = content_first(changes)[:MOST]
    count = len(words) + (image is not None)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    has_intervals = any(np.isfinite(entry.change.low).any() for entry in words)
    size = (columns * PANEL, rows * (PANEL * scene.sides[0].aspect + TITLE) + BARS)
    heading = (scene.title_of_charts, _subtitle(scene, len(words), len(changes), has_intervals))
    figure, panels = new_charts(heading, size, nrows=rows, ncols=columns)
    for axes in panels:
        axes.set_axis_off()
    if image is not None:
        levels = colour_scale(image.levels)
        panels[0].imshow(image.levels, cmap=COLOURS, norm=levels, interpolation="antialiased")
        mean = f"mean {image.levels.mean():.3g}" if image.levels.any() else "the same pictures"
        write_title(panels[0], "image", mean, size=10.5)
    ends = [float(np.nanmax(np.abs(entry.change.change), initial=0)) or 1.0 for entry in words]
    if not is_own:
        ends = [max(ends, default=1.0)] * len(ends)
    names = name_terms([entry.term for entry in words], LETTERS)
    for axes, entry, end in zip(panels[count - len(words) :], words, ends, strict=False):
        _draw_word(axes, entry, end, scene.sides[0].aspect)
        remark = f"{signed(100 * float(np.nanmean(entry.change.change)))} %"
        if is_own:
            remark = f"to ±{100 * end:.3g} %"
        write_title(axes, names[entry.term.key], remark, size=10.5)
    if words:
        _show_bar(
            figure, panels, ends[0], is_own=is_own, pale="" if is_own else _say_pale(words, ends[0])
        )
    if image is not None:
        show_scale(figure, panels, (COLOURS, levels), "image: mean |difference|, levels of 255")
    return figure


def _say_pale(words: Sequence[TermChange], end: float) -> str:
    """Say why panels are pale on the scale of all, if any is that shows a change."""
    shown = [np.where(is_masked(entry), 0.0, np.abs(entry.change.change)) for entry in words]
    return PALE if any(0 < np.nanmax(sizes) < DIM * end for sizes in shown) else ""


def _draw_word(axes: Axes, entry: TermChange, end: float, aspect: float) -> None:
    """Draw one word's change between -end and end; `aspect` is that of the image."""
    rows, columns = np.asarray(entry.change.change).shape
    masked = is_masked(entry)
    axes.imshow(
        np.ma.masked_array(entry.change.change, masked),
        cmap=colormaps[DIVERGING].with_extremes(bad="white"),
        norm=Normalize(-end, end),
        aspect=aspect * columns / rows,
        interpolation="nearest",
    )
    _hatch(axes, masked)


def _hatch(axes: Axes, masked: NDArray[np.bool_]) -> None:
    """Lay thin lines over cells that show nothing, and a frame around all cells."""
    rows, columns = masked.shape
    squares = [
        Path.unit_rectangle().transformed(Affine2D().translate(column - 0.5, row - 0.5))
        for row, column in np.argwhere(masked)
    ]
    if squares:
        lines = PathPatch(Path.make_compound_path(*squares), facecolor="none", linewidth=0)
        lines.set(hatch=HATCH, edgecolor=MASK, hatch_linewidth=0.5)
        axes.add_patch(lines)
    frame = Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=MASK, linewidth=0.8)
    axes.add_patch(frame)


def _show_bar(
    figure: Figure, panels: Sequence[Axes], end: float, *, is_own: bool, pale: str
) -> None:
    """Explain the colours of words; with scales of their own only the ends have names."""
    about = f"change of attention to the word, in % of all attention of a place{pale}"
    if is_own:
        names = {-1.0: "less, to the end above", 0.0: "0", 1.0: "more, to the end above"}
        look, label = (DIVERGING, Normalize(-1, 1)), "change of attention, each word's own scale"
        ticks = FixedLocator(list(names))
        show_scale(figure, panels, look, label, ticks=ticks, spell=names.__getitem__)
        return
    look, several = (DIVERGING, Normalize(-end, end)), MaxNLocator(5, symmetric=True)
    show_scale(figure, panels, look, about, ticks=several, spell=lambda part: signed(100 * part))


def is_masked(entry: TermChange) -> NDArray[np.bool_]:
    """Return which cells have an interval that holds 0; none where there are no intervals."""
    low, high = np.asarray(entry.change.low), np.asarray(entry.change.high)
    return np.asarray((low <= 0) & (high >= 0))


def _subtitle(scene: ComparisonScene, shown: int, total: int, has_intervals: bool) -> str:
    bare = "hatched: the 95 % interval holds 0" if has_intervals else "too few pairs for intervals"
    label = scene.sides[1].label
    return (
        f"{scene.subtitle} · {label} minus {scene.sides[0].label}, mean over pairs · {bare}"
        f"{say_shown(shown, total)}"
    )
