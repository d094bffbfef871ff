"""What a drawing changes: how much of each word's map lies on, near or inside its strokes."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.patches import Patch

from attn.viz.charts import new_charts, show_names
from attn.viz.compare.change_points import (
    MOST,
    ROW,
    Changes,
    draw_points,
    lane_height,
    leading,
    name_words,
    say_hidden,
)
from attn.viz.compare.comparison_scene import (
    ComparisonScene,
    SceneSide,
    say_shown,
    show_side,
    variant_colours,
)
from attn.viz.figures import FigureFile
from attn.viz.labels import short
from attn.viz.page import (
    write_title,
)

TITLES = {
    "on": ("On strokes", "change, percentage points of the map"),
    "near": ("Near strokes", "change, percentage points of the map"),
    "inside": ("Inside all closed shapes", "change, percentage points of the map"),
    "iou": ("Overlap with strokes (IoU)", "change, percentage points of cells"),
}
"""Heading and unit of each measure."""
PLOT, LEAST = 3.1, 0.5  # width of a plot with its names, and height of its rows
SIDE = 2.6  # inches of an image's longer side
IMAGES = 3
"""So many images are shown at most, the baseline's first."""
FOOT = 1.0


def draw_change_sketch(scene: ComparisonScene, measures: Mapping[str, Changes]) -> FigureFile:
    """Draw `sketch_changes.png`: images with strokes, and below by measure each word's change.

    The words are those of most change inside of closed shapes, or if there are none on strokes.

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
    lane = lane_height(ordering)
    row = ROW + lane * variants
    height = max(len(keys) * row, LEAST)
    hidden = len(scene.sides) - 1 - variants
    subtitle = f"{scene.subtitle_of_images}{say_shown(len(keys), len(words))}{say_hidden(hidden)}"
    base, *others = [short(side.label, 30) for side in scene.sides[: 1 + variants]]
    legend = [f"{other} against {base}" for other in others]
    sides = scene.sides[: min(1 + variants, IMAGES)]
    high = SIDE * min(sides[0].aspect, 1.0)
    columns = max(len(sides), len(shown))
    heights = (high, height + FOOT)
    heading = (scene.title_of_charts, subtitle)
    figure, panels = new_charts(
        heading,
        (columns * PLOT, sum(heights)),
        legend=legend,
        nrows=2,
        ncols=columns,
        height_ratios=heights,
    )
    images, plots = panels[:columns], panels[columns:]
    for axes in (*images[len(sides) :], *plots[len(shown) :]):
        axes.remove()
    for axes, side in zip(images, sides, strict=False):
        show_side(axes, side)
        write_title(axes, side.label, side.remark(_drawn(side)), size=10.5)
    for axes, (name, changes) in zip(plots, shown.items(), strict=False):
        title, unit = TITLES[name]
        draw_points(axes, changes, keys, lane / row, unit)
        write_title(axes, title, size=10.5)
    show_names(figure, [Patch(facecolor=colour) for colour in variant_colours(variants)], legend)
    return FigureFile("sketch_changes.png", figure, scene.texts)


def _drawn(side: SceneSide) -> str:
    return "drawing" if side.strokes else "no drawing"
