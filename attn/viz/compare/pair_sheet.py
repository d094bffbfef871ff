"""All pairs of images on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attn.viz.charts import new_charts
from attn.viz.compare.comparison_scene import ComparisonScene
from attn.viz.figures import FigureFile, Pixels, shrink
from attn.viz.page import TITLE, write_title
from attn.viz.sizes import DPI

MOST = 64
"""So many pairs are drawn, the first ones; `image_pairs.csv` has all."""
WIDTH = 12.0
"""Inches of the sheet."""
IMAGE = 1.35  # inches of the long side of an image
GUTTER = 4  # pixels between the two


@dataclass(frozen=True)
class ShownPair:
    """Two images of one seed, what they are of, and how much they differ."""

    title: str
    remark: str
    base: Pixels
    variant: Pixels


def shrink_pair(
    title: str, remark: str, images: tuple[Pixels, Pixels], factor: float = 1.0
) -> ShownPair:
    """Return a pair with no more pixels than its images have on the sheet, by a factor wider."""
    base, variant = (shrink(image, factor * IMAGE, DPI) for image in images)
    return ShownPair(title, remark, base, variant)


def draw_pairs(scene: ComparisonScene, pairs: Sequence[ShownPair], total: int) -> FigureFile:
    """Draw `pairs.png`: the baseline's image at the left of each cell, the variant's at the right.

    Args:
        scene: what is compared; its first variant.
        pairs: up to `MOST`, in the order of their seeds.
        total: number of all pairs.
    """
    aspect = max(float(pair.base.shape[0] / pair.base.shape[1]) for pair in pairs)
    wide = IMAGE / max(aspect, 1.0)
    columns = max(1, min(len(pairs), int(WIDTH / (2 * wide + 0.3))))
    rows = -(-len(pairs) // columns)
    size = (columns * (2 * wide + 0.3), rows * (wide * aspect + TITLE + 0.1))
    left, right = (side.label for side in scene.sides[:2])
    hidden = "" if total == len(pairs) else f" · {len(pairs)} of {total} pairs"
    subtitle = f"{scene.subtitle} · left {left}, right {right} · level: mean |difference| of 255"
    figure, panels = new_charts(
        (scene.title_of_charts, subtitle + hidden), size, nrows=rows, ncols=columns
    )
    for axes in panels:
        axes.set_axis_off()
    for axes, pair in zip(panels, pairs, strict=False):
        axes.imshow(beside(pair.base, pair.variant), interpolation="antialiased")
        write_title(axes, pair.title, pair.remark, size=8.5)
    return FigureFile("pairs.png", figure, scene.texts)


def beside(left: Pixels, right: Pixels) -> Pixels:
    """Return two images side by side on white, from the same upper edge."""
    height = max(left.shape[0], right.shape[0])
    sheet = np.full((height, left.shape[1] + GUTTER + right.shape[1], 3), 255, np.uint8)
    sheet[: left.shape[0], : left.shape[1]] = left
    sheet[: right.shape[0], left.shape[1] + GUTTER :] = right
    return sheet
