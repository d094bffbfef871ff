"""Where in the picture a place of it looks, and which words it reads.

Definitions, for a place P: the cells of a layer's grid that it touches.

- look    L[row, column] = mean over layers, steps, heads and the cells of P of probs[cell, key at
          row, column] of `image.image`; probability, 0 to 1. A coarse cell's amount is shared out
          among the cells of the finest grid that it covers, so that the sum over L is the part of
          the place's attention that goes to the picture. In a video P is in every frame, and L is
          the sum over the frames that are read.
- word    Σ over the word's tokens of the same mean of `image.text`; 0 to 1.
- lift    that, by its mean over all places of the picture.

It says where attention goes, not what the place takes from there, nor why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs, find_lack
from attn.analysis.tables import Table, make_table
from attn.analysis.words.select import select_layers
from attn.analysis.words.selection import BLOCK, Selection, say_many
from attn.errors import AnalysisError
from attn.schema import Layer, Plane
from attn.shapes import GridMaps, QueryWeights
from attn.trace.measures.axes import query_grid, query_image
from attn.trace.rows import RowMeans, lay_images, read_rows
from attn.trace.words.sums import lay_out, sum_tokens, word_positions

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

LOOK = "image.image"
NEEDS = Needs(measures=(f"map.{LOOK}",))
AXES = ("row", "column")
FOLDER = "words/from"
PLACE, WORDS, LOOKS = (f"{FOLDER}/{name}.csv" for name in ("place", "read_words", "looks"))


@dataclass(frozen=True)
class Place:
    """Some cells of a grid: rows `top` to before `bottom`, columns `left` to before `right`."""

    top: int
    left: int
    bottom: int
    right: int
    grid: Plane

    def __str__(self) -> str:
        rows = _span("row", self.top, self.bottom)
        return f"{rows}, {_span('column', self.left, self.right)}"

    def weigh(self, grid: Plane, frames: int = 0) -> QueryWeights:
        """Return (query, 1): an equal part for each cell of a grid that the place touches.

        In a video the place is there in every frame.
        """
        touched = np.zeros(grid)
        touched[
            _touched(self.top, self.bottom, self.grid[0], grid[0]),
            _touched(self.left, self.right, self.grid[1], grid[1]),
        ] = 1
        whole = np.tile(touched.reshape(-1, 1), (max(frames, 1), 1))
        return np.asarray(whole / whole.sum(), np.float64)


def check_numbers(numbers: Sequence[int] | None) -> None:
    """Refuse what is no place.

    Raises:
        ValueError: it is neither ROW,COLUMN nor ROW,COLUMN,ROW,COLUMN with a cell in it.
    """
    if numbers is None:
        return
    cell, behind = tuple(numbers[:2]), tuple(numbers[2:])
    is_region = len(behind) == len(cell) and all(np.less(cell, behind))
    if len(cell) < len(AXES) or (behind and not is_region):
        listed = ",".join(map(str, numbers))
        raise ValueError(
            f"from: got {listed}; expected ROW,COLUMN, or ROW,COLUMN,ROW,COLUMN: the first cell "
            "and the row and column behind the last, such as 3,4 or 3,4,6,8"
        )


def tabulate_looks(
    trace: Trace, selection: Selection, numbers: Sequence[int]
) -> tuple[dict[str, Table], xr.DataArray]:
    """Read what a place of the picture gives to words and to the picture.

    Args:
        trace: of a model whose picture reads itself.
        selection: layers, steps, guidance row and words.
        numbers: that `check_numbers` let through, cells of the finest grid that reads the text.

    Returns:
        `words/from/place.csv`, a row per sample; `read_words.csv`, one per sample, segment and
        word; `looks.csv`, one per sample, image and cell; and the maps (sample, word, row, column)
        to draw, a "word" for each image that is read.

    Raises:
        AnalysisError: the trace has no `image.image`, or the place is outside of the grid.
    """
    lack = find_lack(NEEDS, trace.manifest)
    if lack is not None:
        raise AnalysisError(
            f"where a place looks cannot be told of {trace.folder}: it needs {lack}"
        )
    place = _find_place(trace, selection, numbers)
    chosen = selection.steps if len(selection.steps) < len(trace.steps) else None
    layers = _looking(trace, selection)
    read = partial(read_rows, trace, steps=chosen, branch=selection.branch)
    looks = read(LOOK, layers, weigh=lambda layer: place.weigh(*_places(layer, LOOK)))
    words = read(BLOCK, selection.layers, weigh=lambda layer: place.weigh(*_places(layer, BLOCK)))
    means = read(BLOCK, selection.layers, weigh=lambda layer: _everywhere(*_places(layer, BLOCK)))
    maps = lay_images(looks)
    table = _tabulate_words(selection, words, means)
    count = len({layer for mean in looks for layer in mean.layers})
    tables = {
        PLACE: _tabulate_place(place, maps, table),
        WORDS: table,
        LOOKS: _tabulate_cells(maps),
    }
    return tables, _label(maps, place, selection, count)


def _find_place(trace: Trace, selection: Selection, numbers: Sequence[int]) -> Place:
    """Lay a place on the finest grid of the layers that read the text."""
    tower = selection.layers[0].tower
    layers = [layer for layer in trace.layers if layer.tower == tower and BLOCK in layer.blocks]
    grids = (_places(layer, BLOCK)[0] for layer in layers)
    grid = max(grids, key=lambda sizes: sizes[0] * sizes[1])
    top, left, *end = numbers
    bottom, right = end or (top + 1, left + 1)
    if not (top >= 0 and bottom <= grid[0] and left >= 0 and right <= grid[1]):
        listed = ",".join(map(str, numbers))
        raise AnalysisError(
            f"from={listed} is outside of the picture's grid of {grid[0]} rows and {grid[1]} "
            f"columns: rows are 0 to {grid[0] - 1}, columns 0 to {grid[1] - 1}"
        )
    return Place(top, left, bottom, right, grid)


def _looking(trace: Trace, selection: Selection) -> list[Layer]:
    """Return the selected layers in which the picture reads itself, or else all of these."""
    tower = selection.layers[0].tower
    every = [
        layer
        for layer in trace.layers
        if layer.tower == tower and LOOK in layer.blocks and query_grid(layer, LOOK)
    ]
    selected = {layer.index for layer in selection.layers}
    return [layer for layer in every if layer.index in selected] or [*select_layers(every, ())]


def _places(layer: Layer, block: str) -> tuple[Plane, int]:
    """Return rows and columns of a block's queries, and the frames of a video or 0."""
    image = query_image(layer, block)
    if image is None or image.plane is None:
        raise AnalysisError(f"the queries of {block} in {layer.path} have no grid")
    return image.plane, image.frames


def _everywhere(grid: Plane, frames: int) -> QueryWeights:
    return Place(0, 0, 1, 1, (1, 1)).weigh(grid, frames)


def _tabulate_words(
    selection: Selection, rows: Sequence[RowMeans], means: Sequence[RowMeans]
) -> Table:
    """List what the place gives to each word of each segment, against the whole picture."""
    columns: dict[str, list[object]] = {
        name: [] for name in ("sample", "segment", "word", "occurrence", "attention", "lift")
    }
    for segment in dict.fromkeys(token.segment for token in selection.tokens):
        positions = word_positions(selection.words, selection.tokens, segment)
        there, whole = (_sum_words(every, positions) for every in (rows, means))
        for sample, at in np.ndindex(there.shape):
            if np.isnan(there[sample, at]):
                continue
            word = selection.words[at]
            mean = whole[sample, at]
            lift = there[sample, at] / mean if mean > 0 else np.nan
            cells = (sample, segment, word.text, word.number, there[sample, at], lift)
            for name, cell in zip(columns, cells, strict=True):
                columns[name].append(cell)
    return make_table(columns)


def _sum_words(
    means: Sequence[RowMeans], positions: Sequence[Sequence[tuple[str, int]]]
) -> np.ndarray:
    """Return (sample, word) of the first group, mean over all layers that have the words."""
    total: np.ndarray | float = 0.0
    count: np.ndarray | float = 0.0
    for mean in means:
        total = (
            total
            + sum_tokens(mean.values[:, 0], lay_out(mean.columns, positions))
            * (mean.count[:, None])
        )
        count = count + mean.count[:, None]
    return np.asarray(total / count)


def _tabulate_cells(maps: dict[str, GridMaps]) -> Table:
    """List what each cell of each image gets."""
    parts = []
    for name, values in maps.items():
        sample, _, row, column = np.indices(values.shape).reshape(4, -1)
        image = np.full(sample.size, name, object)
        parts.append((sample, image, row, column, values.ravel()))
    names = ("sample", "image", "row", "column", "attention")
    joined = (np.concatenate(cells) for cells in zip(*parts, strict=True))
    return make_table(dict(zip(names, joined, strict=True)))


def _tabulate_place(place: Place, maps: dict[str, GridMaps], words: Table) -> Table:
    """Say in a row per sample where most of the place's attention goes."""
    rows = []
    for sample in range(len(next(iter(maps.values())))):
        of = {name: values[sample, 0] for name, values in maps.items()}
        image = max(of, key=lambda name: of[name].max())
        row, column = np.unravel_index(of[image].argmax(), of[image].shape)
        mine = np.flatnonzero(words["sample"] == sample)
        best = mine[np.argmax(words["attention"][mine])] if mine.size else None
        cell = float(of[image].max())
        rows.append(
            {
                "sample": sample,
                "place": str(place),
                "grid_rows": place.grid[0],
                "grid_columns": place.grid[1],
                "to_images": sum(float(values.sum()) for values in of.values()),
                "image": image,
                "row": int(row),
                "column": int(column),
                "attention": cell,
                "lift": cell / float(of[image].mean()) if of[image].any() else np.nan,
                "word": "" if best is None else words["word"][best],
                "word_attention": np.nan if best is None else words["attention"][best],
            }
        )
    return make_table({name: np.array([row[name] for row in rows]) for name in rows[0]})


def _label(
    maps: dict[str, GridMaps], place: Place, selection: Selection, count: int
) -> xr.DataArray:
    """Return the maps of the images of the picture's own grid, as a sheet takes them."""
    import xarray as xr

    first = next(iter(maps.values())).shape[2:]
    drawn = {name: values for name, values in maps.items() if values.shape[2:] == first}
    return xr.DataArray(
        np.concatenate([*drawn.values()], 1),
        {"word": np.arange(len(drawn)), "label": ("word", [*drawn])},
        ("sample", "word", "row", "column"),
        attrs={
            "kind": "from",
            "place": str(place),
            "box": (place.top, place.left, place.bottom, place.right, *place.grid),
            "branch": selection.branch,
            "steps": list(selection.steps),
            "unit": "attention probability to a cell, mean over "
            f"{say_many(selection.layers, count, len(selection.steps))} and all heads",
        },
    )


def _touched(start: int, stop: int, size: int, cells: int) -> slice:
    """Return the cells of an axis, of so many, that a span of another grid of it touches."""
    return slice(start * cells // size, max(start * cells // size + 1, -(-stop * cells // size)))


def _span(noun: str, start: int, stop: int) -> str:
    return f"{noun} {start}" if stop == start + 1 else f"{noun}s {start} to {stop - 1}"
