"""Figures of word maps: one per word, and a sheet of all of them on one colour scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.maps.areas import FOLDER
from attn.analysis.words.maps.dominance import NO_WORD
from attn.viz.compare.comparison_scene import SceneSide
from attn.viz.figures import FigureFile, Pixels, Subject, new_figure, shrink
from attn.viz.labels import file_stem, ranges, short
from attn.viz.overlay import Scale, colour_scale, name_scale, range_scale, show_heat, show_image
from attn.viz.page import GAP, LETTER, LINE, MARGIN, TITLE, add_axes, write_heading, write_title
from attn.viz.strokes import say_strokes, show_strokes
from attn.viz.words.looks import draw_looks
from attn.viz.words.run_figures import RunWords, draw_run
from attn.viz.words.sheets import FOOTER, LONG_SIDE, NARROWEST, draw_sheet, shape_of, write_footer
from attn.viz.words.word_colours import colour_words
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

LARGE = 13.0  # points of a title
SAID = {True: "the scale of all words", False: "the scale of this map"}


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw sheets of all words, or phrases, every one by itself, and the figures of `run_figures`.

    Files: `<segment>/heatmaps/words.png` on one scale, `words-own-scale.png` with one for each,
    `words/<index>-<word>.png`, or `phrases` for `words`; and of words those in
    `<segment>/base_analysis/`; of a place, those of `looks`. With several samples the names end in
    `-sample-<number>`. With `scale` `shared` or `own` there is one sheet, and files and sheet have
    scales of that kind.
    """
    for words in result.arrays.values():
        if words.attrs["kind"] == "from":
            yield from draw_looks(words, subject)
            continue
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
    height, width = shape_of(word_map.values, image)
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
    write_footer(figure, scale, f"{maps.attrs['unit']}\n{SAID[is_shared]}, {name_scale(scale)}")
    return figure


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
