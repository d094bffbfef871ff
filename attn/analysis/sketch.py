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

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from attn.analysis.compare.reading import regrid
from attn.analysis.needs import Needs
from attn.analysis.result import Result, Text, WritableFile
from attn.analysis.tables import Table, make_table
from attn.analysis.words.curves import step_axis
from attn.analysis.words.selection import BLOCK, Scope, Selection, choose, step_maps
from attn.analysis.words.word_sums import Numbers
from attn.errors import TraceError
from attn.files.images import UndecodableImageError, decode_image
from attn.files.outside import DAMAGED, decode_reason
from attn.schema import SKETCH, SKETCH_GROUND
from attn.shapes import Region, StepMaps, Strokes, WordMaps
from attn.trace.word_sums import word_positions

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
PARTS = (("top", "middle", "bottom"), ("left", "centre", "right"))


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


@dataclass(frozen=True)
class Drawn:
    """A sketch on a grid of cells.

    Attributes:
        strokes: part of each cell that strokes cover, (row, column).
        inside: part of each cell that strokes surround.
        distance: from each cell to the nearest with a stroke, in cells.
    """

    strokes: Region
    inside: Region
    distance: Region


def run(trace: Trace, options: SketchOptions) -> Result:
    """Compare the maps of words with the strokes of the sketch.

    Returns:
        The tables `sketch/{words,steps,distance,residuals}.csv`, the text `sketch/regions.txt`;
        arrays `overlap` (sample, word, step) and `residuals` (sample, block, step).

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
        TraceError: the sketch cannot be read.
    """
    selection = choose(trace, options)
    maps = word_maps(trace, selection)  # sample, step, word, row, column
    tables: dict[str, Table] = {}
    files: dict[str, WritableFile] = {}
    arrays: dict[str, xr.DataArray] = {}
    notes: tuple[str, ...] = ()
    pixels = read_strokes(trace)
    if pixels.any():
        drawn = lay_out(pixels, (maps.shape[-2], maps.shape[-1]))
        values = _measure(maps, drawn)
        tables["sketch/words.csv"] = _tabulate(selection, measure_mean(maps, drawn))
        tables["sketch/steps.csv"] = _tabulate_steps(trace, selection, values)
        tables["sketch/distance.csv"] = _tabulate_distance(selection, maps.mean(1), drawn.distance)
        files["sketch/regions.txt"] = Text(_describe(selection, maps.mean(1), drawn))
        arrays["overlap"] = _label(trace, selection, values, options.value)
    else:
        notes = ("the sketch has no strokes, so nothing can overlap them",)
    residuals = _residuals(trace, selection)
    if residuals is not None:
        arrays["residuals"] = residuals
        tables["sketch/residuals.csv"] = _tabulate_residuals(residuals)
    return Result(tables, arrays, notes=notes, files=files)


def read_strokes(trace: Trace) -> Strokes:
    """Return a mask of the strokes, bool (row, column) in pixels.

    Raises:
        TraceError: there is no such file, or it is no picture.
    """
    if SKETCH not in trace.manifest.outputs:
        raise TraceError(f"could not read the sketch of {trace.folder}: the trace has none")
    try:
        image = decode_image(trace.output(SKETCH))
    except UndecodableImageError as exc:
        raise TraceError(f"could not read the sketch of {trace.folder}: {exc}") from exc
    is_white = np.asarray(image.convert("L")) > 127  # noqa: PLR2004 - half of white
    return np.asarray(is_white != (image.info.get(SKETCH_GROUND) == "light"))


def lay_out(pixels: Strokes, grid: tuple[int, int]) -> Drawn:
    """Return a sketch on a grid of cells.

    Args:
        pixels: True where a stroke is, (row, column).
        grid: rows and columns of cells.
    """
    from scipy.ndimage import distance_transform_edt

    strokes = regrid(pixels.astype(np.float64), grid)
    inside = regrid(surrounded(pixels).astype(np.float64), grid)
    return Drawn(strokes, inside, np.asarray(distance_transform_edt(strokes == 0)))


def surrounded(pixels: Strokes) -> Strokes:
    """Return a mask of what the strokes enclose: background out of reach of the edge."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(pixels) & ~pixels)


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
        f"the top ({PARTS[0][row]}-{PARTS[1][column]}, {there.mean():.0%} of them there); "
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


@dataclass(frozen=True)
class _Residuals:
    """How strongly a ControlNet acted: by guidance row, then by step and block."""

    blocks: tuple[str, ...]
    strength: dict[str, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class _History:
    """What is read of `outputs/history.json`."""

    residuals: _Residuals | None = None


def _residuals(trace: Trace, selection: Selection) -> xr.DataArray | None:
    """Return the strength of a ControlNet's residuals as the trace's histories have it."""
    import xarray as xr

    names = [name for name in trace.manifest.outputs if "/history" in name]
    residuals = [
        residual
        for residual in (_history(trace, name).residuals for name in names)
        if residual is not None
    ]
    if not residuals or selection.branch not in residuals[0].strength:
        return None
    indices = [step.index for step in trace.steps]
    shape = (len(residuals), len(indices), len(residuals[0].blocks))
    try:
        strength = np.array(
            [residual.strength[selection.branch] for residual in residuals], np.float64
        )
        of_steps = strength.reshape(shape)[:, [indices.index(step) for step in selection.steps]]
    except (KeyError, ValueError) as exc:
        raise TraceError(
            f"the histories of {trace.folder} do not tell {shape[2]} residuals at each of "
            f"{shape[1]} steps"
        ) from exc
    return xr.DataArray(
        np.swapaxes(of_steps, 1, 2),
        {"series": list(residuals[0].blocks), **step_axis(trace, selection.steps)},
        ("sample", "series", "step"),
        attrs={"branch": selection.branch},
    )


def _history(trace: Trace, name: str) -> _History:
    try:
        return msgspec.json.decode(trace.output(name), type=_History)
    except DAMAGED as exc:
        reason = decode_reason(exc)
        raise TraceError(f"could not read {name} of {trace.folder}: {reason}") from exc


def _tabulate_residuals(residuals: xr.DataArray) -> Table:
    sample, block, step = np.indices(residuals.shape).reshape(3, -1)
    return make_table(
        {
            "block": residuals["series"].values.astype(object)[block],
            "sample": sample,
            "branch": np.full(sample.size, residuals.attrs["branch"], object),
            "step": residuals["step"].values[step],
            "noise": residuals["noise"].values[step],
            "strength": residuals.values.ravel(),
        }
    )
