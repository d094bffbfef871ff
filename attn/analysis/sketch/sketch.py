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
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers
from attn.analysis.result import Result, Text
from attn.analysis.sketch.edges import measure_deviation, say_deviation, tabulate_deviations
from attn.analysis.sketch.overlap import (
    measure,
    measure_mean,
    tabulate,
    tabulate_distance,
    tabulate_steps,
)
from attn.analysis.sketch.regions import describe_regions
from attn.analysis.sketch.residuals import read_residuals, tabulate_residuals
from attn.analysis.sketch.shapes import (
    describe_word,
    find_shapes,
    find_swapped,
    headline,
    measure_chance,
    measure_lifts,
    tabulate_shapes,
)
from attn.analysis.sketch.strokes import lay_out, read_strokes
from attn.analysis.sketch.tokens import read_tokens
from attn.analysis.words.curves import step_axis
from attn.analysis.words.selection import BLOCK, Scale, Scope, Selection, choose, step_maps
from attn.shapes import StepMaps, Strokes, WordMaps
from attn.trace.words.sums import word_positions
from attn.words import is_content

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(
    segments=("image", "text"), measures=(f"map.{BLOCK}",), words=True, stepwise=True, sketch=True
)
COMPARED = ("on", "near", "inside", "iou")
"""What a comparison tells of two runs."""
VALUES = ("on", "on_ratio", "near", "inside", "inside_ratio", "iou")
NO_STROKES = "the sketch has no strokes, so nothing can overlap them"
NO_SHAPES = (
    "the sketch has no closed shapes, so no word is held against one; close an outline for that"
)


@dataclass(frozen=True)
class SketchOptions(Scope):
    """What to look at."""

    value: str = field(
        default="auto",
        metadata={"help": f"what is drawn: {', '.join(VALUES)}; auto is inside_ratio or on_ratio"},
    )

    scale: Scale = field(
        default="auto",
        metadata={
            "help": "of the colours of sketch tokens' maps: shared by all of a page, or each map's "
            "own, as auto is, since a single token is dark beside the sum of all"
        },
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
    made = Result({}, notes=(NO_STROKES,))
    if pixels.any():
        maps = word_maps(trace, selection)  # sample, step, word, row, column
        parts = (
            _hold_words(trace, selection, maps, pixels, options.value),
            _hold_shapes(trace, selection, maps.mean(1), pixels),
            _hold_image(trace, pixels),
        )
        made = join_results(parts)
    tokens = read_tokens(trace, selection, options.scale)
    return join_results((made, tokens, _follow_residuals(trace, selection)))


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
    values = measure(maps, drawn)
    tables = {
        "sketch/words.csv": tabulate(selection, measure_mean(maps, drawn)),
        "sketch/steps.csv": tabulate_steps(trace, selection, values),
        "sketch/distance.csv": tabulate_distance(selection, maps.mean(1), drawn.distance),
    }
    regions = Text(describe_regions(selection, maps.mean(1), drawn))
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
    lifts, chances = measure_lifts(maps, shapes), measure_chance(maps, shapes)
    words, samples = selection.words, range(len(maps))
    prompt = trace.manifest.request.prompt if selection.branch != "uncond" else ""
    swapped = [
        find_swapped(prompt, words, *both, shapes.names)
        for both in zip(lifts, chances, strict=True)
    ]
    ending = [f" in sample {sample}" if len(maps) > 1 else "" for sample in samples]
    notes = [f"{said}{ending[sample]}" for sample in samples for said in swapped[sample]]
    if shapes.left_out:
        notes.append(f"the sketch has {shapes.left_out} more closed shapes; the largest are shown")
    array = xr.DataArray(
        lifts,
        {
            "word": [word.label for word in words],
            "shape": list(shapes.names),
            "telling": ("word", [is_content(word.text) for word in words]),
            "chance": (("sample", "word", "shape"), chances),
        },
        ("sample", "word", "shape"),
        attrs={
            "branch": selection.branch,
            "headlines": [
                headline(words, *both, shapes.names) for both in zip(lifts, chances, strict=True)
            ],
        },
    )
    told = (
        line
        for sample in samples
        for line in (
            *([f"sample {sample}"] if len(maps) > 1 else []),
            *map(
                describe_word,
                array["word"].values,
                lifts[sample],
                chances[sample],
                [shapes.names] * len(words),
            ),
            *swapped[sample],
        )
    )
    return Result(
        {"sketch/shapes.csv": tabulate_shapes(words, shapes, lifts, chances)},
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


def word_maps(trace: Trace, selection: Selection) -> StepMaps:
    """Return (sample, step, word, row, column)."""
    groups = word_positions(selection.words, selection.tokens)
    maps, _ = step_maps(trace, selection, groups)
    return np.moveaxis(maps, -1, 2)


def _label(
    trace: Trace, selection: Selection, values: dict[str, Numbers], requested: str
) -> xr.DataArray:
    import xarray as xr

    auto = "on_ratio" if np.isnan(values["inside"]).all() else "inside_ratio"
    name = auto if requested == "auto" else requested
    return xr.DataArray(
        np.moveaxis(values[name], 2, 1),
        {
            "series": [word.label for word in selection.words],
            "telling": ("series", [is_content(word.text) for word in selection.words]),
            **step_axis(trace, selection.steps),
        },
        ("sample", "series", "step"),
        attrs={"value": name, "branch": selection.branch},
    )
