"""One figure of a comparison: the pictures, where the word that changed most is, what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.compare.changes import TermChange, headline
from attn.analysis.compare.terms import Key
from attn.viz.compare.change_points import (
    FEW,
    MOST,
    NAME,
    ROW,
    Changes,
    draw_points,
    lane_height,
    leading,
    levels,
    name_words,
    say_hidden,
)
from attn.viz.compare.comparison_scene import (
    POINTS,
    ComparisonScene,
    SceneSide,
    show_map,
    show_side,
    variant_colours,
)
from attn.viz.figures import FigureFile, new_figure
from attn.viz.labels import wrap
from attn.viz.overlay import ColourScale, colour_scale, show_bar
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    SMALLER,
    TITLE,
    add_axes,
    write_at_edge,
    write_beside,
    write_heading,
    write_title,
)
from attn.viz.style import INK
from attn.wording import digits

ROOM, WIDEST, NARROWEST, TALLEST = 8.2, 2.9, 1.1, 3.0  # inches of the pictures
NUMBERS, PLOT = 0.72, 3.1  # widths of relative changes and plot
TALLEST_ROW = 0.72  # height of a word
FOOT = 0.62
BAR = 0.1


def draw_summary(scene: ComparisonScene) -> FigureFile:
    """Draw `summary.png`: pictures above maps at the left, changes with intervals at the right."""
    sides, changes = scene.sides[: 1 + MOST], scene.changes[:MOST]
    keys = leading(changes)
    lead = [entry.term.key for entry in filter(None, map(headline, changes))]
    word = _index_of(scene, [*lead, *keys])
    cell = _cell(sides)
    left = len(sides) * (cell[0] + GAP) - GAP
    names = NAME * max(map(len, name_words(changes).values()), default=1)
    across = left + 3 * GAP + names + PLOT + NUMBERS
    images_height = TITLE + cell[1] + (0 if word is None else TITLE + cell[1] + FOOT)
    lane = lane_height(changes)
    row = ROW + lane * len(changes)
    row = min(max(row, (images_height - TITLE - FOOT) / max(len(keys), 1)), max(row, TALLEST_ROW))
    title, subtitle = _heading(scene, across, len(scene.sides) - len(sides))
    lines = (*title, *subtitle)
    top = MARGIN + LINE * len(lines) + GAP
    height = max(images_height, TITLE + len(keys) * row + FOOT)
    figure = new_figure(across + 2 * MARGIN, top + height + MARGIN)
    write_heading(figure, lines, small=len(subtitle))
    for number, side in enumerate(sides):
        axes = add_axes(figure, MARGIN + number * (cell[0] + GAP), top + TITLE, *cell)
        show_side(axes, side)
        _title(axes, side, ("", *variant_colours(len(changes)))[number])
    if word is not None:
        _draw_maps(figure, scene, word, cell, top + cell[1] + TITLE)
    box = (MARGIN + left + 3 * GAP + names, top + TITLE, PLOT, len(keys) * row)
    _draw_changes(add_axes(figure, *box), changes, keys, lane / row)
    return FigureFile("summary.png", figure, scene.texts)


def _cell(sides: Sequence[SceneSide]) -> tuple[float, float]:
    """Return width and height of a picture."""
    aspect = sides[0].aspect
    width = max(min(ROOM / len(sides), WIDEST, TALLEST / aspect), NARROWEST)
    return width, width * aspect


def _index_of(scene: ComparisonScene, keys: Sequence[Key]) -> int | None:
    """Return the place of the first of some words that all sides have maps of, if there is one."""
    if any(side.maps is None for side in scene.sides[: 1 + MOST]):
        return None
    indices = {word.key: index for index, word in enumerate(scene.words)}
    return next((indices[key] for key in keys if key in indices), None)


def _heading(scene: ComparisonScene, across: float, hidden: int) -> tuple[list[str], list[str]]:
    """Return the lines of the title and of the subtitle."""
    letters = across / LETTER
    has_level = any(side.difference is not None for side in scene.sides)
    level = " · level: mean |difference| of all pairs, of 255" if has_level else ""
    subtitle = f"{scene.subtitle_of_images}{say_hidden(hidden)}{level}"
    return wrap(scene.prompt, letters, 2), wrap(subtitle, SMALLER * letters, 2)


def _title(axes: Axes, side: SceneSide, colour: str) -> None:
    """Write a name above a picture; below is a line in the colour of the variant, if it has one."""
    role = "" if colour else "baseline"
    if side.difference is not None:
        level, ssim = side.difference
        role = f"level {digits(level)} · SSIM {digits(ssim, 1)}"
    write_title(axes, side.label, side.remark(role), size=10.5)
    if colour:
        line = axes.plot(
            [0, 1],
            [0, 0],
            color=colour,
            linewidth=3.5,
            transform=axes.transAxes,
            solid_capstyle="butt",
        )
        line[0].set_clip_on(False)


def _draw_maps(
    figure: Figure, scene: ComparisonScene, word: int, cell: tuple[float, float], top: float
) -> None:
    """Draw the maps of one word below the pictures, on one scale."""
    sides = scene.sides[: 1 + MOST]
    scale = colour_scale(np.stack([side.maps[word] for side in sides if side.maps is not None]))
    for number, side in enumerate(sides):
        left = MARGIN + number * (cell[0] + GAP)
        axes = add_axes(figure, left, top + TITLE, *cell)
        show_map(axes, side, word, scale)
        mean = "" if side.maps is None else f"mean {float(side.maps[word].mean()):.3g}"
        write_title(axes, scene.words[word].label, mean, size=9.5)
    _draw_bar(figure, scale, len(sides) * (cell[0] + GAP) - GAP, top + TITLE + cell[1])


def _draw_bar(figure: Figure, scale: ColourScale, width: float, top: float) -> None:
    bar = min(width, 4.0)
    axes = add_axes(figure, MARGIN + (width - bar) / 2, top + GAP, bar, BAR)
    show_bar(figure, axes, scale, "attention probability of this word")


def _draw_changes(axes: Axes, changes: Changes, keys: Sequence[Key], lane: float) -> None:
    """Draw every word's change with its interval, the largest on top."""
    draw_points(axes, changes, keys, lane, f"change of mass, {POINTS}")
    colours = variant_colours(len(changes)) if len(changes) > 1 else (INK,)
    if len(changes) <= FEW:
        for entry, number, level in levels(changes, keys, lane):
            _write_relative(axes, entry, level, colours[number])
        write_beside(axes, "factor", (1, 1), (6, 8), xycoords="axes fraction")
    write_title(axes, "Change of mass, content words first", size=10.5)


def _write_relative(axes: Axes, entry: TermChange, level: float, colour: str) -> None:
    """Write by which factor a word changes at the right of the plot."""
    relative = float(entry.change.relative)
    if not np.isfinite(relative):
        return
    write_at_edge(axes, f"×{digits(1 + relative, 1)}", level, colour)
