"""A heatmap laid over the picture it belongs to, with its colour bar."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from attn.viz.figures import Pixels
from attn.viz.page import FAMILY
from attn.viz.style import FAINT, INK

COLOURS = "inferno"  # perceptually uniform: equal steps of the value look equally large
OPACITY = (0.5, 0.8)
"""Of the lowest and highest colour: what gets nothing stays visible, what gets most glows."""

INTERPOLATION = "catrom"
"""Bicubic convolution (Keys 1981, a = -1/2), which passes through the values.

What matplotlib calls "bicubic" is a B-spline: it takes more than half off a peak of one token, so
that no colour on the picture would be that of the value.
"""

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
COLOUR_LEFT = 0.2
"""Share of the picture's own colour below a heatmap; more would compete with the heat's colours."""

BACKDROP = 0.55
"""Grey that stands for the picture: where there is none, and below the colours of the bar."""

ColourScale = Normalize


def colour_scale(values: NDArray[np.floating[Any]]) -> ColourScale:
    """Return the scale from 0 to the largest value; zeros only give the scale 0 to 1."""
    top = float(values.max())
    return Normalize(0.0, top if top > 0 else 1.0)


def show_image(axes: Axes, image: Pixels) -> None:
    """Show the generated picture alone."""
    axes.imshow(image, interpolation="antialiased")
    axes.set_axis_off()


def fade(image: Pixels) -> Pixels:
    """Take most of the colour out of a picture, for the background of a map."""
    grey = image @ np.asarray(LUMA, np.float32)
    mixed = image * np.float32(COLOUR_LEFT) + (grey * np.float32(1 - COLOUR_LEFT))[..., None]
    return np.asarray(mixed.round(), np.uint8)


def show_heat(
    axes: Axes, heat: NDArray[np.floating[Any]], faded: Pixels | None, scale: ColourScale
) -> None:
    """Show a map over its picture, or over grey where there is none.

    Args:
        axes: where to draw.
        heat: row, column on the token grid; enlarged by bicubic interpolation for display only.
        faded: the picture (see `fade`); its edges are those of the map, whatever their sizes.
        scale: values to colours; what lies above its top gets the last colour.
    """
    if faded is None:
        faded = np.full((*heat.shape, 3), round(255 * BACKDROP), np.uint8)
    height, width = faded.shape[:2]
    axes.imshow(faded, interpolation="antialiased")
    axes.imshow(
        heat,
        cmap=_translucent(),
        norm=scale,
        interpolation=INTERPOLATION,
        interpolation_stage="data",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    axes.set_axis_off()


def show_bar(figure: Figure, axes: Axes, scale: ColourScale, label: str) -> None:
    """Draw the horizontal colour bar of a scale, in the colours seen over mid-grey."""
    bar = figure.colorbar(
        ScalarMappable(scale, _opaque()),
        cax=axes,
        orientation="horizontal",
        ticks=MaxNLocator(5),
        format=FuncFormatter(lambda value, _: f"{value:.6g}"),
    )
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=2.5)
    axes.set_xlabel(label, fontsize=8.5, color=INK, fontfamily=FAMILY, parse_math=False)


@cache
def _translucent() -> ListedColormap:
    """The colours of heat, the lowest letting most of the picture through."""
    colours = colormaps[COLOURS](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(*OPACITY, 256)
    return ListedColormap(colours, name="heat")


@cache
def _opaque() -> ListedColormap:
    """The same colours as they look over the backdrop."""
    colours = _translucent()(np.linspace(0, 1, 256))
    alpha = colours[:, 3:]
    return ListedColormap(colours[:, :3] * alpha + BACKDROP * (1 - alpha), name="heat on grey")
