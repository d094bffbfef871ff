"""A LoRA's effect beside that of random weights of the same size: images, a word, the level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from attn.viz.charts import new_charts, show_names
from attn.viz.compare.comparison_scene import RANDOM, VARIANT, SceneSide, show_side, style
from attn.viz.figures import FigureFile
from attn.viz.labels import short
from attn.viz.page import FAMILY, write_title
from attn.viz.style import FAINT, INK, RULE

IMAGE, PANEL, FOOT = 1.9, 4.2, 0.8  # inches of an image and of a panel of bars; below the bars
BAR = 0.62
DOT, OPACITY = 9.0, 0.6
LETTERS = 12
ROLES = ("baseline", "LoRA", "random weights")


@dataclass(frozen=True)
class EffectBar:
    """One effect: a bar from 0 to the mean, and a dot for each image.

    Attributes:
        label: the word that it is on; empty of images.
        values: of each image, in the panel's unit.
        is_random: whether it is that of random weights.
    """

    label: str
    values: Sequence[float]
    is_random: bool


@dataclass(frozen=True)
class EffectPanel:
    """Bars of one unit, and how many times as long one is as the other."""

    title: str
    remark: str
    unit: str
    bars: Sequence[EffectBar]


def draw_null(
    sides: Sequence[SceneSide],
    panels: Sequence[EffectPanel],
    heading: tuple[str, str],
    path: str,
    texts: dict[str, str],
) -> FigureFile:
    """Draw three images, and beside them what both LoRAs change.

    Args:
        sides: the baseline, the LoRA, random weights of its size.
        panels: of bars.
        heading: title and subtitle.
        path: of the figure.
        texts: what the PNG says of itself.
    """
    width = IMAGE / max(sides[0].aspect, 1.0)
    widths = [width] * len(sides) + [PANEL] * len(panels)
    size = (sum(widths), width * sides[0].aspect + FOOT)
    names = [short(sides[1].label, 30), "random weights of the same size"]
    figure, axes = new_charts(heading, size, legend=names, ncols=len(widths), width_ratios=widths)
    for panel, side, role in zip(axes, sides, ROLES, strict=False):
        show_side(panel, side)
        write_title(panel, role, side.note, size=9.5)
    for panel, effects in zip(axes[len(sides) :], panels, strict=True):
        _draw_panel(panel, effects)
    show_names(figure, [Patch(color=VARIANT), Patch(color=RANDOM)], names)
    return FigureFile(path, figure, texts)


def _draw_panel(axes: Axes, panel: EffectPanel) -> None:
    for level, bar in enumerate(panel.bars):
        values = np.asarray(bar.values, np.float64)
        colour = RANDOM if bar.is_random else VARIANT
        axes.barh(level, values.mean(), BAR, color=colour)
        axes.scatter(
            values, np.full(len(values), level), DOT, color=INK, alpha=OPACITY, linewidths=0
        )
    axes.axvline(0, color=RULE, linewidth=1)
    axes.set_yticks(range(len(panel.bars)), [_name(bar) for bar in panel.bars])
    axes.set_ylim(len(panel.bars) - 0.5, -0.5)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(panel.unit, fontsize=8.5, color=FAINT, fontfamily=FAMILY)
    style(axes, across=True)
    write_title(axes, panel.title, panel.remark, size=10.5)


def _name(bar: EffectBar) -> str:
    """Say what a bar is on, and whose it is: both may change the same word."""
    by = "by random" if bar.is_random else "by LoRA"
    return f"“{short(bar.label, LETTERS)}” {by}" if bar.label else by
