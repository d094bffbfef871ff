"""Sheets of maps: the image, and a panel for each word, or for whatever else has a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.viz.figures import Pixels, new_figure
from attn.viz.overlay import (
    DIM,
    ColourScale,
    Heat,
    Scale,
    colour_scale,
    name_scale,
    range_scale,
    show_bar,
    show_ends,
    show_heat,
    show_image,
)
from attn.viz.page import GAP, MARGIN, add_axes, arrange, write_heading, write_title
from attn.viz.strokes import Lines, show_strokes

if TYPE_CHECKING:
    import xarray as xr

LONG_SIDE = 4.6  # inches of the image and of the map in a word's file
NARROWEST = 4.6  # inches: as wide as the colour bar and its label
FOOTER = 0.72
BAR = 0.13  # height of the colour bar
SMALL = 10.5  # points of a title
DARK = "\na dark panel: the word gets little attention; a scale of its own shows where"


def draw_sheet(
    maps: xr.DataArray,
    image: Pixels | None,
    heading: tuple[str, str],
    scale: Scale = "shared",
    strokes: Lines = (),
    scales: Sequence[ColourScale] = (),
) -> Figure:
    """Draw the image and every word beside it, with one bar.

    Args:
        maps: word, row, column; on one scale `remark` is written beside `label`, or else the mean.
        image: the generated image, or None: then the sheet has the words only.
        heading: title and subtitle of the page.
        scale: one for all, or one for each map, from its smallest to its largest value.
        strokes: lines of the drawing that the image was made over.
        scales: of the maps, where each has its own but not that of its values.
    """
    height, width = shape_of(maps.values[0], image)
    offset = 0 if image is None else 1
    cells = len(maps["word"]) + offset
    sheet = arrange(cells, height / width, heading, narrowest=NARROWEST, footer=FOOTER)
    figure = new_figure(*sheet.size)
    write_heading(figure, sheet.heading, sheet.small)
    common = colour_scale(maps.values)
    if image is not None:
        show_image(add_axes(figure, *sheet.corner(0), *sheet.cell), image)
    for number, word_map in enumerate(maps, start=offset):
        axes = add_axes(figure, *sheet.corner(number), *sheet.cell)
        own = scales[number - offset] if scales else range_scale(word_map.values)
        panel = common if scale == "shared" else own
        show_heat(axes, word_map.values, image, panel)
        show_strokes(axes, strokes)
        remark = name_scale(panel) if scale == "own" else _remark(word_map)
        write_title(axes, str(word_map["label"].item()), remark, size=SMALL)
    unit = str(maps.attrs["unit"])
    if scale == "shared":
        several = " · all panels on this scale" if len(maps["word"]) > 1 else ""
        write_footer(figure, common, f"{unit}{several}{_say_dark(maps, common)}")
    else:
        show_ends(figure, _footer(figure), f"{unit} · each panel on its own scale, named above it")
    return figure


def _remark(word_map: xr.DataArray) -> str:
    if "remark" in word_map.coords:
        return str(word_map["remark"].item())
    return f"mean {float(word_map.mean()):.3g}"


def _say_dark(maps: xr.DataArray, scale: ColourScale) -> str:
    """Say why panels are dark on the scale of all, if any is."""
    largest = maps.max(("row", "column")).values
    return DARK if (largest < DIM * (scale.vmax or 1.0)).any() else ""


def shape_of(heat: Heat, image: Pixels | None) -> tuple[int, int]:
    """Height and width in pixels, or in tokens where there is no picture."""
    height, width = heat.shape if image is None else image.shape[:2]
    return height, width


def write_footer(figure: Figure, scale: ColourScale, unit: str) -> None:
    """Draw the colour bar in the middle below."""
    show_bar(figure, _footer(figure), scale, unit)


def _footer(figure: Figure) -> Axes:
    """Return the axes of the colour bar."""
    width, height = figure.get_size_inches()
    left = (width - NARROWEST) / 2
    return add_axes(figure, left, height - MARGIN - FOOTER + 1.5 * GAP, NARROWEST, BAR)
