"""Figures of word maps: one per word, and a sheet of all of them on one colour scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.maps.areas import FOLDER
from attn.analysis.words.maps.dominance import NO_WORD
from attn.viz.compare.comparison_scene import SceneSide
from attn.viz.figures import FigureFile, Pixels, Subject, new_figure, shrink
from attn.viz.labels import file_stem, ranges, short
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
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    arrange,
    write_heading,
    write_title,
)
from attn.viz.strokes import Lines, say_strokes, show_strokes
from attn.viz.words.run_figures import RunWords, draw_run
from attn.viz.words.word_colours import colour_words
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

LONG_SIDE = 4.6  # inches of the image and of the map in a word's file
NARROWEST = 4.6  # inches: as wide as the colour bar and its label
FOOTER = 0.72
BAR = 0.13  # height of the colour bar
LARGE, SMALL = 13.0, 10.5  # points of a title
DARK = "\na dark panel: the word gets little attention; a scale of its own shows where"
SAID = {True: "the scale of all words", False: "the scale of this map"}


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw sheets of all words, or phrases, every one by itself, and the figures of `run_figures`.

    Files: `<segment>/heatmaps/words.png` on one scale, `words-own-scale.png` with one for each,
    `words/<index>-<word>.png`, or `phrases` for `words`; and of words those in
    `<segment>/base_analysis/`. With several samples the names end in `-sample-<number>`. With
    `scale` `shared` or `own` there is one sheet, and files and sheet have scales of that kind.
    """
    for words in result.arrays.values():
        for sample, generated in enumerate(subject.images):
            image = generated if generated is None else shrink(generated, LONG_SIDE, subject.dpi)
            ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
            maps = words.isel(sample=sample)
            texts = _texts(maps) | {"sample": str(sample)}
            yield from _draw_maps(maps, image, subject, texts, ending)
            if maps.attrs["kind"] == "words":
                folder = f"{maps.attrs['segment']}/{FOLDER}"
                yield from draw_run(_run(maps, image, subject), texts, folder, ending)


def _draw_maps(
    maps: xr.DataArray, image: Pixels | None, subject: Subject, texts: dict[str, str], ending: str
) -> Iterator[FigureFile]:
    """Draw the sheets, and each word by itself."""
    kind, scale = maps.attrs["kind"], maps.attrs["scale"]
    start = f"{maps.attrs['segment']}/heatmaps/{kind}"
    sheets: dict[str, Scale] = {"": "shared", "-own-scale": "own"}
    if scale != "auto":
        sheets = {"": scale}
    for name, of_sheet in sheets.items():
        heading = (subject.prompt, _subtitle(maps, subject, of_sheet))
        figure = draw_sheet(maps, image, heading, of_sheet, subject.strokes)
        yield FigureFile(f"{start}{name}{ending}.png", figure, texts)
    for index, word in zip(maps["word"].values, maps["text"].values, strict=True):
        figure = draw_word(maps, int(index), image, subject)
        path = f"{start}/{file_stem(int(index), word)}{ending}.png"
        yield FigureFile(path, figure, texts | {kind.removesuffix("s"): word})


def _run(maps: xr.DataArray, image: Pixels | None, subject: Subject) -> RunWords:
    """Return what the figures of a run's words show: of the words that are drawn."""
    attrs, words = maps.attrs, [int(word) for word in maps["word"].values]
    labels = [str(label) for label in maps["label"].values]
    ranks = {NO_WORD: NO_WORD} | {word: rank for rank, word in enumerate(words)}
    winners = np.vectorize(lambda word: ranks.get(word, len(words)), [int])(maps["winner"].values)
    return RunWords(
        SceneSide(f"seed {subject.seed}", image, maps.values, strokes=subject.strokes),
        labels,
        [float(mass) for mass in maps["mass"].values],
        winners,
        [words.index(word) for word in attrs["rivals"] if word in words],
        attrs["dominance"],
        subject.prompt,
        f"{subject.backend} · seed {subject.seed} · {attrs['segment']}{_left_out(maps)}",
        "own" if attrs["scale"] == "own" else "shared",
        colour_words(labels, subject.vocabulary),
    )


def draw_word(maps: xr.DataArray, word: int, image: Pixels | None, subject: Subject) -> Figure:
    """Draw one word: the image beside its map, its mean, the colour bar.

    Args:
        maps: word, row, column; the other words are there for a shared colour scale.
        word: index of the word.
        image: the generated image, or None: then there is the map alone.
        subject: for the heading.
    """
    word_map = maps.sel(word=word)
    is_shared = maps.attrs["scale"] == "shared"
    scale = colour_scale(maps.values) if is_shared else range_scale(word_map.values)
    height, width = _shape(word_map.values, image)
    wide, high = LONG_SIDE * width / max(width, height), LONG_SIDE * height / max(width, height)
    panels = 1 if image is None else 2
    across = max(panels * (wide + GAP) - GAP, NARROWEST)
    facts = f"{subject.backend} · seed {subject.seed} · {maps.attrs['segment']}"
    facts += say_strokes(subject.strokes)
    lines = (short(subject.prompt, int(across / LETTER)), short(facts, int(across / LETTER)))
    top = MARGIN + 2 * LINE + GAP
    figure = new_figure(across + 2 * MARGIN, top + TITLE + high + FOOTER + MARGIN)
    write_heading(figure, lines)
    left = MARGIN + (across - panels * (wide + GAP) + GAP) / 2
    if image is not None:
        show_image(add_axes(figure, left, top + TITLE, wide, high), image)
        left += wide + GAP
    axes = add_axes(figure, left, top + TITLE, wide, high)
    show_heat(axes, word_map.values, image, scale)
    show_strokes(axes, subject.strokes)
    title = str(word_map["label"].item())
    write_title(axes, title, f"mean {float(word_map.mean()):.3g}", size=LARGE)
    _write_footer(figure, scale, f"{maps.attrs['unit']}\n{SAID[is_shared]}, {name_scale(scale)}")
    return figure


def draw_sheet(
    maps: xr.DataArray,
    image: Pixels | None,
    heading: tuple[str, str],
    scale: Scale = "shared",
    strokes: Lines = (),
) -> Figure:
    """Draw the image and every word beside it, with one bar.

    Args:
        maps: word, row, column.
        image: the generated image, or None: then the sheet has the words only.
        heading: title and subtitle of the page.
        scale: one for all, or one for each map, from its smallest to its largest value.
        strokes: lines of the drawing that the image was made over.
    """
    height, width = _shape(maps.values[0], image)
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
        panel = common if scale == "shared" else range_scale(word_map.values)
        show_heat(axes, word_map.values, image, panel)
        show_strokes(axes, strokes)
        mean = f"mean {float(word_map.mean()):.3g}"
        remark = mean if scale == "shared" else name_scale(panel)
        write_title(axes, str(word_map["label"].item()), remark, size=SMALL)
    unit = str(maps.attrs["unit"])
    if scale == "shared":
        _write_footer(figure, common, f"{unit} · all panels on this scale{_say_dark(maps, common)}")
    else:
        show_ends(figure, _footer(figure), f"{unit} · each panel on its own scale, named above it")
    return figure


def _say_dark(maps: xr.DataArray, scale: ColourScale) -> str:
    """Say why panels are dark on the scale of all, if any is."""
    largest = maps.max(("row", "column")).values
    return DARK if (largest < DIM * (scale.vmax or 1.0)).any() else ""


def _shape(heat: Heat, image: Pixels | None) -> tuple[int, int]:
    """Height and width in pixels, or in tokens where there is no picture."""
    height, width = heat.shape if image is None else image.shape[:2]
    return height, width


def _subtitle(maps: xr.DataArray, subject: Subject, scale: Scale) -> str:
    attrs = maps.attrs
    name = attrs["kind"].removesuffix("s")
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    facts = f"{subject.backend} · seed {subject.seed} · {attrs['segment']}{branch}"
    told = f" · {attrs['told']}" if attrs.get("told") else ""
    mean = f" · mean: of the map of each {name}" if scale == "shared" else ""
    return f"{facts}{mean}{_left_out(maps)}{told}{say_strokes(subject.strokes)}"


def _left_out(maps: xr.DataArray) -> str:
    """Say how many words are not drawn; the tables have all."""
    count, noun = maps.attrs["left_out"], maps.attrs["kind"].removesuffix("s")
    return f" · {count_noun(count, f'more {noun}')} in the tables" if count else ""


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
    show_bar(figure, _footer(figure), scale, unit)


def _footer(figure: Figure) -> Axes:
    """Return the axes of the colour bar."""
    width, height = figure.get_size_inches()
    left = (width - NARROWEST) / 2
    return add_axes(figure, left, height - MARGIN - FOOTER + 1.5 * GAP, NARROWEST, BAR)
