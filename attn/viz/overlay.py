"""A map on its colour scale, with the outlines of the image it belongs to, and the colour bar.

Maps are opaque, each cell in one colour, so that every colour on the page is that of the bar. The
image stands beside them, or is traced over them by thin lines of equal brightness.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from attn.viz.figures import Pixels
from attn.viz.page import FAMILY
from attn.viz.style import FAINT, INK
from attn.wording import percent

COLOURS = "inferno"  # perceptually uniform: equal steps of the value look equally large
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
TRACED = 96
"""Pixels of the image's long side where it is traced: finer structure would hide the map."""
BLUR = 1.2  # of these pixels
LEVELS = (0.3, 0.6)
"""Brightness between the image's darkest and brightest, in parts, along which lines run."""
EVEN = 12.0
"""An image that is nowhere brighter than elsewhere by so much of 255 has no outlines."""
DIM = 0.15
"""What is a smaller part of the scale is all but black."""
SELDOM = 0.25
"""Where a smaller part of all is brighter, a figure is told to be dark."""
ENDS = ("the panel's smallest", "its largest")
"""Of panels of which each has a scale of its own."""
WIDTH, OPACITY = 0.45, 0.75  # of a line, in points

ColourScale = Normalize
Scale = Literal["shared", "own"]
Heat = NDArray[np.floating[Any]]
"""A map: row, column."""


def colour_scale(values: NDArray[np.floating[Any]]) -> ColourScale:
    """Return the scale from 0 to the largest value; zeros only give the scale 0 to 1."""
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return Normalize(0.0, top if top > 0 else 1.0)


def range_scale(values: NDArray[np.floating[Any]]) -> ColourScale:
    """Return the scale from the smallest to the largest value; if they are one, that from 0."""
    is_known = np.isfinite(values).any()
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if is_known else (0.0, 0.0)
    return Normalize(low, high) if high > low else colour_scale(values)


def say_dark(values: NDArray[np.floating[Any]], scale: ColourScale, noun: str) -> str:
    """Return lines that say why most of a table is dark, and what is grey; none if nothing is.

    Cells that are not numbers are what there is not, such as a head that only other layers have.

    Args:
        values: all that are drawn.
        scale: their colours.
        noun: what each value is of, such as `heads`.
    """
    known = values[np.isfinite(values)]
    bright = int((known >= DIM * (scale.vmax or 1.0)).sum())
    absent = f"\ngrey: there are no such {noun}" if known.size < values.size else ""
    if not 0 < bright < SELDOM * known.size:
        return absent
    told = f"above {percent(DIM)} of the scale: {bright} of {known.size} {noun}"
    return f"\n{told}; the others are dark{absent}"


def name_scale(scale: ColourScale) -> str:
    """Name the ends of a scale."""
    return f"{float(scale.vmin or 0):.3g} to {float(scale.vmax or 0):.3g}"


def show_image(axes: Axes, image: Pixels) -> None:
    """Show the generated image alone."""
    axes.imshow(image, interpolation="antialiased")
    axes.set_axis_off()


def show_heat(
    axes: Axes,
    heat: Heat,
    image: Pixels | None,
    scale: ColourScale,
    *,
    shape: tuple[int, int] | None = None,
) -> None:
    """Show a map, and over it the outlines of its image, if there is one.

    Args:
        axes: where to draw.
        heat: row, column on the token grid; each cell has one colour.
        image: its edges are those of the map, whatever their sizes.
        scale: values to colours; what lies outside has the colour of the nearer end.
        shape: height and width that the map fills without an image; None is that of the map.
    """
    height, width = shape or heat.shape if image is None else image.shape[:2]
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(heat, cmap=COLOURS, norm=scale, interpolation="nearest", extent=box)
    if image is not None:
        trace_outlines(axes, image)
    axes.set_axis_off()


def trace_outlines(axes: Axes, image: Pixels, colour: str = "white") -> None:
    """Draw thin lines of equal brightness of an image, in its pixels."""
    grey = Image.fromarray(np.asarray(image @ np.asarray(LUMA, np.float32), np.uint8))
    height, width = image.shape[:2]
    factor = min(1.0, TRACED / max(height, width))
    small = grey.resize((max(2, round(width * factor)), max(2, round(height * factor))))
    light = np.asarray(small.filter(ImageFilter.GaussianBlur(BLUR)), np.float64)
    low, high = float(light.min()), float(light.max())
    if high - low < EVEN:
        return
    rows, columns = light.shape
    across = (np.arange(columns) + 0.5) * width / columns - 0.5
    down = (np.arange(rows) + 0.5) * height / rows - 0.5
    levels = [low + part * (high - low) for part in LEVELS]
    axes.contour(across, down, light, levels, colors=colour, linewidths=WIDTH, alpha=OPACITY)


def show_bar(figure: Figure, axes: Axes, scale: ColourScale, label: str) -> None:
    """Draw the horizontal colour bar of a scale."""
    bar = figure.colorbar(
        ScalarMappable(scale, COLOURS),
        cax=axes,
        orientation="horizontal",
        ticks=MaxNLocator(5),
        format=FuncFormatter(lambda value, _: f"{value:.6g}"),
    )
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=2.5)
    axes.set_xlabel(label, fontsize=8.5, color=INK, fontfamily=FAMILY, parse_math=False)


def show_ends(figure: Figure, axes: Axes, label: str, ends: tuple[str, str] = ENDS) -> None:
    """Draw a colour bar of panels of which each has a scale of its own: only the ends have names.

    Args:
        figure: the page.
        axes: of the bar.
        label: what the colours mean.
        ends: their names.
    """
    show_bar(figure, axes, Normalize(0.0, 1.0), label)
    axes.set_xticks([0, 1], ends)
