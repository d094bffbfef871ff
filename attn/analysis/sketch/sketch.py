"""Where words look in a picture that was drawn over a sketch, and how strongly the sketch acts.

Definitions, for one word at one step, with `M` its map (mean over layers and heads, sum over the
word's tokens, on the finest grid) divided by its sum, and `S` the part of each cell that strokes
cover:

- on        Σ M · S, the part of the map on strokes; `inside` the same of what closed strokes
            surround, empty where nothing is surrounded. 0 to 1.
- *_ratio   that, divided by the part of the picture that strokes (what they surround) cover: 1 is
            what an even map has.
- near      Σ M over the cells at most `NEAR` cells away from a cell with a stroke.
- iou       cells with strokes against as many cells, those where the map is largest: what both
            have over what either has. 0 to 1.
- distance  from a cell's centre to the nearest cell with a stroke, in cells of the finest grid.
- strength  of a ControlNet's residual: its norm over that of what it is added to; see
            `outputs/history.json`.

A word's place is the centre of mass of the highest tenth of its map's cells: that of the whole map
is near the picture's middle for every word, because low values are everywhere.

Source: ScribbleDiffusion describes what a sketch token looks at, but its tokens have no place in
the sketch. Places come from maps and strokes alone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers
from attn.analysis.result import Result, Text
from attn.analysis.sketch.edges import measure_deviation, say_deviation, tabulate_deviations
from attn.analysis.sketch.residuals import read_residuals, tabulate_residuals
from attn.analysis.sketch.shapes import (
    describe_word,
    find_shapes,
    find_swapped,
    headline,
    is_telling,
    measure_lifts,
    name_ninth,
    tabulate_shapes,
)
from attn.analysis.sketch.strokes import Drawn, lay_out, read_strokes
from attn.analysis.sketch.tokens import read_tokens
from attn.analysis.tables import Table, make_table
from attn.analysis.words.curves import step_axis
from attn.analysis.words.selection import BLOCK, Scope, Selection, choose, step_maps
from attn.shapes import Region, StepMaps, Strokes, WordMaps
from attn.trace.words.sums import word_positions

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(
    segments=("image", "text"), measures=(f"map.{BLOCK}",), words=True, stepwise=True, sketch=True
)
NEAR = 1.5
"""Cells: a cell's eight neighbours are near."""
BANDS = (0.0, 0.5, 1.5, 2.5, 4.5, 8.5, np.inf)
"""Borders of distances in the table, in cells; the first band is the strokes themselves."""
COMPARED = ("on", "near", "inside", "iou")
"""What a comparison tells of two runs."""
VALUES = ("on", "on_ratio", "near", "inside", "inside_ratio", "iou")
HIGHEST = 0.1
"""Part of the cells, those with the largest values, that a word's place is told from."""
NO_SHAPES = "the sketch has no closed shapes, so no word is held against one"


@dataclass(frozen=True)
class SketchOptions(Scope):
    """What to look at."""

    value: str = field(
        default="auto",
        metadata={"help": f"what is drawn: {', '.join(VALUES)}; auto is inside_ratio or on_ratio"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value not in ("auto", *VALUES):
            raise ValueError(f"value must be auto or one of {', '.join(VALUES)}; got {self.value}")


def run(trace: Trace, options: SketchOptions) -> Result:
    """Compare the maps of words, and the edges of the image, with the strokes of the sketch.

    Returns:
        The tables `sketch/{words,steps,distance,shapes,deviation,tokens,residuals}.csv`, the texts
        `sketch/{regions,shapes}.txt`; arrays for the figures: see `attn.viz.sketch`.

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
        TraceError: the sketch, or an image, cannot be read.
    """
    selection = choose(trace, options)
    pixels = read_strokes(trace)
    made = Result({}, notes=("the sketch has no strokes, so nothing can overlap them",))
    if pixels.any():
        maps = word_maps(trace, selection)  # sample, step, word, row, column
        parts = (
            _hold_words(trace, selection, maps, pixels, options.value),
            _hold_shapes(trace, selection, maps.mean(1), pixels),
            _hold_image(trace, pixels),
        )
        made = join_results(parts)
    return join_results((made, read_tokens(trace, selection), _follow_residuals(trace, selection)))


def join_results(parts: Sequence[Result]) -> Result:
    """Return one result with all tables, arrays, notes and files of several."""
    return Result(
        {name: table for part in parts for name, table in part.columns.items()},
        {name: array for part in parts for name, array in part.arrays.items()},
        tuple(note for part in parts for note in part.notes),
        {name: file for part in parts for name, file in part.files.items()},
    )


def _hold_words(
    trace: Trace, selection: Selection, maps: StepMaps, pixels: Strokes, value: str
) -> Result:
    """Hold the words' maps against the strokes."""
    import xarray as xr

    drawn = lay_out(pixels, (maps.shape[-2], maps.shape[-1]))
    values = _measure(maps, drawn)
    tables = {
        "sketch/words.csv": _tabulate(selection, measure_mean(maps, drawn)),
        "sketch/steps.csv": _tabulate_steps(trace, selection, values),
        "sketch/distance.csv": _tabulate_distance(selection, maps.mean(1), drawn.distance),
    }
    regions = Text(_describe(selection, maps.mean(1), drawn))
    arrays = {
        "drawing": xr.DataArray(pixels, dims=("row", "column")),
        "overlap": _label(trace, selection, values, value),
    }
    return Result(tables, arrays, files={"sketch/regions.txt": regions})


def _hold_shapes(trace: Trace, selection: Selection, maps: WordMaps, pixels: Strokes) -> Result:
    """Hold the words' maps against the closed shapes of the drawing, if there are any."""
    import xarray as xr

    shapes = find_shapes(pixels, (maps.shape[-2], maps.shape[-1]))
    if not shapes.names:
        return Result({}, notes=(NO_SHAPES,))
    lifts = measure_lifts(maps, shapes)
    words, samples = selection.words, range(len(maps))
    prompt = trace.manifest.request.prompt if selection.branch != "uncond" else ""
    swapped = [find_swapped(prompt, words, lifts[sample], shapes.names) for sample in samples]
    ending = [f" in sample {sample}" if len(maps) > 1 else "" for sample in samples]
    notes = [f"{said}{ending[sample]}" for sample in samples for said in swapped[sample]]
    if shapes.left_out:
        notes.append(f"the sketch has {shapes.left_out} more closed shapes; the largest are shown")
    array = xr.DataArray(
        lifts,
        {
            "word": [word.label for word in words],
            "shape": list(shapes.names),
            "telling": ("word", [is_telling(word) for word in words]),
        },
        ("sample", "word", "shape"),
        attrs={
            "branch": selection.branch,
            "headlines": [headline(words, lifts[sample], shapes.names) for sample in samples],
        },
    )
    told = (
        line
        for sample in samples
        for line in (
            *([f"sample {sample}"] if len(maps) > 1 else []),
            *map(describe_word, array["word"].values, lifts[sample], [shapes.names] * len(words)),
            *swapped[sample],
        )
    )
    return Result(
        {"sketch/shapes.csv": tabulate_shapes(words, shapes, lifts)},
        {"lifts": array, "numbers": xr.DataArray(shapes.numbers, dims=("row", "column"))},
        tuple(notes),
        {"sketch/shapes.txt": Text("\n".join(told) + "\n")},
    )


def _hold_image(trace: Trace, pixels: Strokes) -> Result:
    """Hold the edges of each image against the strokes, where there is an image of their size."""
    import xarray as xr

    found = [read_image(trace, sample) for sample in range(trace.manifest.samples)]
    images = [image for image in found if image is not None]
    if len(images) < len(found):
        return Result({})
    others = [image.shape[:2] for image in images if image.shape[:2] != pixels.shape]
    if others:
        sizes = " and ".join(f"{wide}x{high}" for high, wide in (pixels.shape, others[0]))
        return Result({}, notes=(f"sketch and image are {sizes}: no edges are held against it",))
    deviations = [measure_deviation(pixels, image) for image in images]
    arrays = {
        f"deviation {sample}": xr.DataArray(
            np.column_stack([entry.points, entry.distance]) if entry else np.zeros((0, 5)),
            {"field": ["row", "column", "edge_row", "edge_column", "distance"]},
            ("point", "field"),
            attrs={"headline": say_deviation(entry)},
        )
        for sample, entry in enumerate(deviations)
    }
    return Result({"sketch/deviation.csv": tabulate_deviations(deviations)}, arrays)


def _follow_residuals(trace: Trace, selection: Selection) -> Result:
    """Follow what a ControlNet adds, if there is one."""
    residuals = read_residuals(trace, selection)
    if residuals is None:
        return Result({})
    table = tabulate_residuals(residuals)
    return Result({"sketch/residuals.csv": table}, {"residuals": residuals})


def measure_mean(maps: StepMaps, drawn: Drawn) -> dict[str, Numbers]:
    """Return the measures of the mean of the maps over steps, (sample, word) each."""
    return {name: values[:, 0] for name, values in _measure(maps.mean(1)[:, None], drawn).items()}


def word_maps(trace: Trace, selection: Selection) -> StepMaps:
    """Return (sample, step, word, row, column)."""
    groups = word_positions(selection.words, selection.tokens)
    maps, _ = step_maps(trace, selection, groups)
    return np.moveaxis(maps, -1, 2)


def _measure(maps: StepMaps, drawn: Drawn) -> dict[str, Numbers]:
    """Return the measures by name, (sample, step, word) each; NaN for words without tokens."""
    with np.errstate(invalid="ignore"):
        parts = maps / maps.sum((-2, -1), keepdims=True)
    on, inside = ((parts * region).sum((-2, -1)) for region in (drawn.strokes, drawn.inside))
    is_closed = bool(drawn.inside.any())
    inside = inside if is_closed else np.full_like(inside, np.nan)
    near = (parts * (drawn.distance <= NEAR)).sum((-2, -1))
    return {
        "on": on,
        "on_ratio": on / drawn.strokes.mean(),
        "near": near,
        "inside": inside,
        "inside_ratio": inside / drawn.inside.mean() if is_closed else inside,
        "iou": _iou(parts, drawn.strokes > 0),
    }


def _iou(parts: StepMaps, region: Strokes) -> Numbers:
    """Compare a region with as many cells of each map, the largest; ties in order of the cells."""
    flat, truth = parts.reshape(*parts.shape[:-2], -1), region.ravel()
    count = int(truth.sum())
    order = np.argsort(-flat, axis=-1, kind="stable")[..., :count]
    both = truth[order].sum(-1)
    ratio = both / (2 * count - both)
    return np.where(np.isnan(flat).any(-1), np.nan, ratio)


def _tabulate(selection: Selection, values: dict[str, Numbers]) -> Table:
    sample, word = np.indices(values["on"].shape).reshape(2, -1)
    return make_table(_words(selection, word) | {"sample": sample} | _ravel(values))


def _tabulate_steps(trace: Trace, selection: Selection, values: dict[str, Numbers]) -> Table:
    sample, step, word = np.indices(values["on"].shape).reshape(3, -1)
    axis = step_axis(trace, selection.steps)
    time = {name: np.asarray(axis[name][1])[step] for name in ("step", "noise")}
    return make_table(_words(selection, word) | {"sample": sample} | time | _ravel(values))


def _tabulate_distance(selection: Selection, maps: WordMaps, distance: Region) -> Table:
    """Tabulate each word's mean map, and a uniform map, by distance from the strokes."""
    with np.errstate(invalid="ignore"):
        parts = maps / maps.sum((-2, -1), keepdims=True)
    pairs = list(pairwise(BANDS))
    masks = np.stack([(distance >= low) & (distance < high) for low, high in pairs])
    mass = np.einsum("swrc,brc->swb", parts, masks.astype(np.float64))
    area = masks.mean((-2, -1))
    sample, word, band = np.indices(mass.shape).reshape(3, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(area > 0, mass / area, np.nan)
    return make_table(
        _words(selection, word)
        | {
            "sample": sample,
            "from_cells": np.asarray(BANDS)[band],
            "to_cells": np.asarray(BANDS)[band + 1],
            "area": area[band],
            "mass": mass.ravel(),
            "ratio": ratio.ravel(),
        }
    )


def _words(selection: Selection, word: np.ndarray) -> dict[str, np.ndarray]:
    names = np.array([occurrence.text for occurrence in selection.words], object)
    return {
        "word": names[word],
        "occurrence": np.array([occurrence.number for occurrence in selection.words])[word],
    }


def _ravel(values: dict[str, Numbers]) -> dict[str, Numbers]:
    return {name: array.ravel() for name, array in values.items()}


def _describe(selection: Selection, maps: WordMaps, drawn: Drawn) -> str:
    """Describe, per sample and word, where its map peaks and which strokes lie there."""
    cells = drawn.strokes.size
    count = max(1, round(HIGHEST * cells))
    lines = [
        f"Of each word, the {count} of {cells} cells where its map is highest: what they "
        "hold of the map, their centre of mass, the part of them in its ninth of the picture, "
        f"and the part that strokes cover, which of all cells is {drawn.strokes.mean():.1%}.",
    ]
    for sample, sample_maps in enumerate(maps):
        lines += ["", *([f"sample {sample}"] if len(maps) > 1 else [])]
        for word, word_map in zip(selection.words, sample_maps, strict=True):
            told = (
                _describe_largest(word_map, count, drawn.strokes)
                if word_map.sum() > 0
                else "not read by the model"
            )
            lines.append(f"{word.label}: {told}")
    return "\n".join(lines) + "\n"


def _describe_largest(map_: Region, count: int, strokes: Region) -> str:
    """Describe the `count` largest cells of a map; ties in order of the cells."""
    cells = np.unravel_index(np.argsort(-map_, axis=None, kind="stable")[:count], map_.shape)
    mass = map_[cells]
    centres = [(at + 0.5) / size for at, size in zip(cells, map_.shape, strict=True)]
    ninths = [np.minimum((3 * at).astype(int), 2) for at in centres]
    down, across = (float((mass * at).sum() / mass.sum()) for at in centres)
    row, column = (min(int(3 * at), 2) for at in (down, across))
    there = (ninths[0] == row) & (ninths[1] == column)
    return (
        f"{mass.sum() / map_.sum():.0%} of the map; {across:.0%} from the left, {down:.0%} from "
        f"the top ({name_ninth(down, across)}, {there.mean():.0%} of them there); "
        f"strokes cover {strokes[cells].mean():.1%}"
    )


def _label(
    trace: Trace, selection: Selection, values: dict[str, Numbers], requested: str
) -> xr.DataArray:
    import xarray as xr

    auto = "on_ratio" if np.isnan(values["inside"]).all() else "inside_ratio"
    name = auto if requested == "auto" else requested
    return xr.DataArray(
        np.moveaxis(values[name], 2, 1),
        {"series": [word.label for word in selection.words], **step_axis(trace, selection.steps)},
        ("sample", "series", "step"),
        attrs={"value": name, "branch": selection.branch},
    )
