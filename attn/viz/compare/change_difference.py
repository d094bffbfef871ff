"""Where a variant differs from the baseline: the image, and the attention to each word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from attn.analysis.compare.changes import TermChange, content_first
from attn.analysis.compare.images import ImageDifference
from attn.viz.charts import new_charts, show_scale
from attn.viz.compare.comparison_scene import (
    DIVERGING,
    ComparisonScene,
    is_masked,
    name_terms,
    say_hatched,
    say_shown,
    show_changes,
    signed,
)
from attn.viz.figures import FigureFile
from attn.viz.overlay import COLOURS, DIM, colour_scale
from attn.viz.page import TITLE, write_title
from attn.wording import list_some

MOST = 11
"""So many words are drawn, content words that changed most first; the tables have all."""
COLUMNS = 4
PANEL, BARS = 2.5, 1.5  # inches of a panel, and of the bars below all
LETTERS = 18
NAMED = 3
"""So many words are named that are pale beside others."""


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
    figure = _draw(scene, changes, image, scale)
    yield FigureFile("difference.png", figure, scene.texts)
    if scale == "auto" and changes:
        figure = _draw(scene, changes, image, "own")
        yield FigureFile("difference-own-scale.png", figure, scene.texts)


def _draw(
    scene: ComparisonScene,
    changes: Sequence[TermChange],
    image: ImageDifference | None,
    scale: Literal["auto", "shared", "own"],
) -> Figure:
    """Draw the image and the words on one page."""
    is_own = scale == "own"
    words = content_first(changes)[:MOST]
    count = len(words) + (image is not None)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    size = (columns * PANEL, rows * (PANEL * scene.sides[0].aspect + TITLE) + BARS)
    heading = (scene.title_of_charts, _subtitle(scene, words, len(changes)))
    figure, panels = new_charts(heading, size, nrows=rows, ncols=columns)
    for axes in panels:
        axes.set_axis_off()
    if image is not None:
        levels = colour_scale(image.levels)
        panels[0].imshow(image.levels, cmap=COLOURS, norm=levels, interpolation="antialiased")
        mean = (
            f"mean {image.levels.mean():.3g} levels" if image.levels.any() else "the same pictures"
        )
        write_title(panels[0], "image", mean, size=10.5)
    sizes = [_largest_shown(entry) for entry in words]
    ends = sizes if is_own else [max(sizes, default=0.0)] * len(sizes)
    names = name_terms([entry.term for entry in words], LETTERS)
    for axes, entry, end in zip(panels[count - len(words) :], words, ends, strict=False):
        _draw_word(axes, entry, end or 1.0, scene.sides[0].aspect)
        remark = f"{signed(100 * float(np.nanmean(entry.change.change)))} points"
        if is_own:
            remark = f"to ±{100 * end:.3g} points" if end else "nowhere shown"
        write_title(axes, names[entry.term.key], remark, size=10.5)
    if words and is_own:
        _show_own_bar(figure, panels)
    elif words:
        labels = [names[entry.term.key] for entry in words]
        own = scale == "auto"
        _show_bar(figure, panels, ends[0] or 1.0, _say_pale(labels, sizes, has_own=own))
    if image is not None:
        show_scale(figure, panels, (COLOURS, levels), "image: mean |difference|, levels of 255")
    return figure


def _largest_shown(entry: TermChange) -> float:
    """Return the largest absolute change of a cell that is not hatched; 0 if all are."""
    sizes = np.where(is_masked(entry), 0.0, np.abs(entry.change.change))
    return float(np.nanmax(sizes, initial=0))


def _say_pale(labels: Sequence[str], sizes: Sequence[float], *, has_own: bool) -> str:
    """Name the words that are pale on the scale of all, though they are shown to change."""
    most = max(sizes)
    pale = [label for label, size in zip(labels, sizes, strict=True) if 0 < size < DIM * most]
    if not pale:
        return ""
    where = "\ndifference-own-scale.png shows where" if has_own else ""
    return f"\npale, as they change little beside others:\n{list_some(pale, NAMED)}{where}"


def _draw_word(axes: Axes, entry: TermChange, end: float, aspect: float) -> None:
    """Draw one word's change between -end and end; `aspect` is that of the image."""
    rows, columns = np.asarray(entry.change.change).shape
    show_changes(axes, entry.change.change, is_masked(entry), end, aspect * columns / rows)


def _show_bar(figure: Figure, panels: Sequence[Axes], end: float, pale: str) -> None:
    """Explain the colours of words on one scale."""
    about = f"change of attention to the word, percentage points of a place's attention{pale}"
    look, several = (DIVERGING, Normalize(-end, end)), MaxNLocator(5, symmetric=True)
    show_scale(figure, panels, look, about, ticks=several, spell=lambda part: signed(100 * part))


def _show_own_bar(figure: Figure, panels: Sequence[Axes]) -> None:
    """Explain the colours of words on scales of their own: only the ends have names."""
    names = {-1.0: "less, to the end above", 0.0: "0", 1.0: "more, to the end above"}
    look, label = (DIVERGING, Normalize(-1, 1)), "change of attention, each word's own scale"
    ticks = FixedLocator(list(names))
    show_scale(figure, panels, look, label, ticks=ticks, spell=names.__getitem__)


def _subtitle(scene: ComparisonScene, words: Sequence[TermChange], total: int) -> str:
    label, base = (side.label for side in scene.sides[1::-1])
    places = ", above each word over places" if words else ""
    return (
        f"{scene.subtitle} · {label} minus {base}, mean over pairs{places} · "
        f"{say_hatched(words)}{say_shown(len(words), total)}"
    )
