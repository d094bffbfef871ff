"""What a drawing changes: how much of each word's map lies on, near or inside its strokes."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attn.viz.compare.change_points import (
    MOST,
    NAME,
    ROW,
    Changes,
    draw_points,
    lane_height,
    leading,
    name_words,
    say_hidden,
)
from attn.viz.compare.comparison_scene import VARIANTS, ComparisonScene, say_shown, short
from attn.viz.figures import FigureFile, new_figure
from attn.viz.page import (
    FAMILY,
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    write_heading,
    write_title,
)

TITLES = {
    "on": ("On strokes", "change, in % of the map"),
    "near": ("Near strokes", "change, in % of the map"),
    "inside": ("Inside closed strokes", "change, in % of the map"),
    "iou": ("Overlap with strokes (IoU)", "change, in % of cells"),
}
"""Heading and unit of each measure."""
PLOT, LEAST = 2.7, 0.5  # width of a plot, and height of its rows
FOOT = 0.62


def draw_change_sketch(scene: ComparisonScene, measures: Mapping[str, Changes]) -> FigureFile:
    """Draw `sketch_changes.png`: by measure, the change of each word with its interval.

    The words are those of most change inside of closed strokes, or if there are none on strokes.

    Args:
        scene: what is compared.
        measures: `sketch.COMPARED` that there are, each with one list of changes per variant;
            0 to 1.
    """
    shown = {name: changes[:MOST] for name, changes in measures.items()}
    variants = len(next(iter(shown.values())))
    ordering = shown["inside"] if "inside" in shown else next(iter(shown.values()))
    keys = leading(ordering)
    words = name_words(ordering)
    names = NAME * max(map(len, words.values()))
    lane = lane_height(ordering)
    row = ROW + lane * variants
    height = max(len(keys) * row, LEAST)
    across = len(shown) * (names + PLOT + 2 * GAP)
    letters = int(across / LETTER)
    top = MARGIN + 3 * LINE + GAP
    figure = new_figure(across + 2 * MARGIN, top + TITLE + height + FOOT + MARGIN)
    hidden = len(scene.sides) - 1 - variants
    subtitle = f"{scene.subtitle}{say_shown(len(keys), len(words))}{say_hidden(hidden)}"
    write_heading(figure, (short(scene.title_of_charts, letters), short(subtitle, letters)))
    _write_legend(figure, scene, variants, top)
    for number, (name, changes) in enumerate(shown.items()):
        left = MARGIN + number * (names + PLOT + 2 * GAP) + names
        axes = add_axes(figure, left, top + TITLE, PLOT, height)
        title, unit = TITLES[name]
        draw_points(axes, changes, keys, lane / row, unit)
        write_title(axes, title, size=10.5)
    return FigureFile("sketch_changes.png", figure, scene.texts)


def _write_legend(figure: Figure, scene: ComparisonScene, variants: int, top: float) -> None:
    """Name the colours of the variants, and what they are compared with."""
    width, height = figure.get_size_inches()
    base, *others = [short(side.label, 30) for side in scene.sides[: 1 + variants]]
    figure.legend(
        [Patch(facecolor=colour) for colour in VARIANTS[:variants]],
        [f"{other} against {base}" for other in others],
        loc="center left",
        bbox_to_anchor=(MARGIN / width, 1 - (top - LINE / 2) / height),
        ncols=variants,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        prop={"family": FAMILY, "size": 9},
    )
