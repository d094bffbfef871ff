"""Figures of word maps: one per word, and a sheet of all of them on one colour scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from attn.analysis.result import Result
from attn.viz.figures import FigureFile, Pixels, Subject, new_figure, shrink
from attn.viz.labels import file_stem, ranges
from attn.viz.overlay import ColourScale, colour_scale, fade, show_bar, show_heat, show_image
from attn.viz.page import GAP, MARGIN, TITLE, add_axes, arrange, write_heading, write_title
from attn.viz.strokes import Lines, show_strokes

if TYPE_CHECKING:
    import xarray as xr

Heat = NDArray[np.floating[Any]]
"""A map: row, column."""

LONG_SIDE = 6.0  # inches of the picture in a word's own file: 900 pixels
NARROWEST = 4.6  # inches: as wide as the colour bar and its label
FOOTER = 0.72
BAR = 0.13  # height of the colour bar
LARGE, SMALL = 14.0, 10.5  # points of a title


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw a sheet for each segment and sample, and every word, or phrase, on its own.

    Files: `<segment>/heatmaps/words.png` and `<segment>/heatmaps/words/<index>-<word>.png`, or
    `phrases` for `words`; with several samples the names end in `-sample-<number>`. What belongs to
    one segment and sample is on one colour scale, except the words' own pictures if the maps ask
    for `scale="own"`.
    """
    for words in result.arrays.values():
        start = f"{words.attrs['segment']}/heatmaps/{words.attrs['kind']}"
        name = words.attrs["kind"].removesuffix("s")
        for sample, generated in enumerate(subject.images):
            image = generated if generated is None else shrink(generated, LONG_SIDE, subject.dpi)
            maps = words.isel(sample=sample)
            ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
            texts = _texts(maps) | {"sample": str(sample)}
            heading = (subject.prompt, _subtitle(maps, subject))
            sheet = draw_sheet(maps, image, heading, subject.strokes)
            yield FigureFile(f"{start}{ending}.png", sheet, texts)
            for index, word in zip(maps["word"].values, maps["text"].values, strict=True):
                path = f"{start}/{file_stem(int(index), word)}{ending}.png"
                yield FigureFile(
                    path, draw_word(maps, int(index), image, subject.strokes), texts | {name: word}
                )


def draw_word(maps: xr.DataArray, word: int, image: Pixels | None, strokes: Lines = ()) -> Figure:
    """Draw one word: the picture under its map, its title, its mean, the colour bar.

    Args:
        maps: word, row, column; the other words are there for the common colour scale.
        word: index of the word.
        image: the generated picture, or None: then the map is over grey.
        strokes: lines of the drawing that it was drawn over.
    """
    word_map = maps.sel(word=word)
    scale = colour_scale(word_map.values if maps.attrs["scale"] == "own" else maps.values)
    height, width = _shape(word_map.values, image)
    wide, high = LONG_SIDE * width / max(width, height), LONG_SIDE * height / max(width, height)
    across = max(wide, NARROWEST)
    figure = new_figure(across + 2 * MARGIN, 2 * MARGIN + TITLE + high + FOOTER)
    axes = add_axes(figure, MARGIN + (across - wide) / 2, MARGIN + TITLE, wide, high)
    show_heat(axes, word_map.values, image if image is None else fade(image), scale)
    show_strokes(axes, strokes)
    page = add_axes(figure, MARGIN, MARGIN + TITLE, across, high)
    page.set_axis_off()
    write_title(
        page, str(word_map["label"].item()), f"mean {float(word_map.mean()):.2g}", size=LARGE
    )
    _write_footer(figure, scale, str(maps.attrs["unit"]))
    return figure


def draw_sheet(
    maps: xr.DataArray, image: Pixels | None, heading: tuple[str, str], strokes: Lines = ()
) -> Figure:
    """Draw the picture and every word over it, with one colour scale and one bar.

    Args:
        maps: word, row, column.
        image: the generated picture, or None: then the sheet has the words only.
        heading: title and subtitle of the page.
        strokes: lines of the drawing that it was drawn over.
    """
    height, width = _shape(maps.values[0], image)
    offset = 0 if image is None else 1
    cells = len(maps["word"]) + offset
    sheet = arrange(cells, height / width, heading, narrowest=NARROWEST, footer=FOOTER)
    figure = new_figure(*sheet.size)
    write_heading(figure, sheet.heading)
    scale, faded = colour_scale(maps.values), None
    if image is not None:
        faded = fade(image)
        show_image(add_axes(figure, *sheet.corner(0), *sheet.cell), image)
    for number, word_map in enumerate(maps, start=offset):
        axes = add_axes(figure, *sheet.corner(number), *sheet.cell)
        show_heat(axes, word_map.values, faded, scale)
        show_strokes(axes, strokes)
        write_title(
            axes, str(word_map["label"].item()), f"{float(word_map.mean()):.2g}", size=SMALL
        )
    _write_footer(figure, scale, str(maps.attrs["unit"]))
    return figure


def _shape(heat: Heat, image: Pixels | None) -> tuple[int, int]:
    """Height and width in pixels, or in tokens where there is no picture."""
    height, width = heat.shape if image is None else image.shape[:2]
    return height, width


def _subtitle(maps: xr.DataArray, subject: Subject) -> str:
    attrs = maps.attrs
    name = attrs["kind"].removesuffix("s")
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    facts = f"{subject.backend} · seed {subject.seed} · {attrs['segment']}{branch}"
    return f"{facts} · at the right of each {name}: its mean over the picture"


def _texts(maps: xr.DataArray) -> dict[str, str]:
    """Return the texts of the PNG, from which the figure can be made again."""
    attrs = maps.attrs
    return {
        "segment": attrs["segment"],
        "branch": attrs["branch"],
        "measure": attrs["measure"],
        "unit": attrs["unit"],
        "layers": ranges(attrs["layers"]),
        "shown_steps": ranges(attrs["steps"]),
    }


def _write_footer(figure: Figure, scale: ColourScale, unit: str) -> None:
    """Draw the colour bar in the middle below."""
    width, height = figure.get_size_inches()
    left = (width - NARROWEST) / 2
    axes = add_axes(figure, left, height - MARGIN - FOOTER + 1.5 * GAP, NARROWEST, BAR)
    show_bar(figure, axes, scale, unit)
