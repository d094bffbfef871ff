"""What part of a word's map lies on the strokes, near them and inside of closed shapes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.sketch.strokes import Drawn
from attn.analysis.tables import Table, make_table
from attn.analysis.words.curves import step_axis
from attn.analysis.words.selection import Selection
from attn.shapes import Region, StepMaps, Strokes, WordMaps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEAR = 1.5
"""Cells: a cell's eight neighbours are near."""
BANDS = (0.0, 0.5, 1.5, 2.5, 4.5, 8.5, np.inf)
"""Borders of distances in the table, in cells; the first band is the strokes themselves."""

REGIONS = {
    "inside": "inside the drawing's closed shapes taken together",
    "on": "on the drawing's strokes",
}
"""What sentences call the regions of measures; the first that a drawing has is told of."""


def measure_mean(maps: StepMaps, drawn: Drawn) -> dict[str, Numbers]:
    """Return the measures of the mean of the maps over steps, (sample, word) each."""
    return {name: values[:, 0] for name, values in measure(maps.mean(1)[:, None], drawn).items()}


def measure(maps: StepMaps, drawn: Drawn) -> dict[str, Numbers]:
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


def tabulate(selection: Selection, values: dict[str, Numbers]) -> Table:
    """Return `words.csv`, of measures by sample and word."""
    sample, word = np.indices(values["on"].shape).reshape(2, -1)
    return make_table(_words(selection, word) | {"sample": sample} | _ravel(values))


def tabulate_steps(trace: Trace, selection: Selection, values: dict[str, Numbers]) -> Table:
    """Return `steps.csv`, of measures by sample, step and word."""
    sample, step, word = np.indices(values["on"].shape).reshape(3, -1)
    axis = step_axis(trace, selection.steps)
    time = {name: np.asarray(axis[name][1])[step] for name in ("step", "noise")}
    return make_table(_words(selection, word) | {"sample": sample} | time | _ravel(values))


def tabulate_distance(selection: Selection, maps: WordMaps, distance: Region) -> Table:
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
