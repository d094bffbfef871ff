"""What some queries read, mean over layers and steps: places of a picture, or words of its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError
from attn.schema import Column, Layer, Plane, Segment, part
from attn.shapes import GridMaps, GroupKeys, QueryWeights
from attn.trace.grids import resample_values
from attn.trace.measures.axes import index_of

if TYPE_CHECKING:
    from attn.trace.trace import Trace


@dataclass(frozen=True)
class RowMeans:
    """What groups of queries give to each key.

    Attributes:
        values: (sample, group, key), probability, mean over layers and steps; NaN of what never
            ran.
        columns: what the axis `key` stands for.
        layers: indices of those that are in it.
        segments: of their keys that the block has.
        count: layers times steps that are in it, by sample.
    """

    values: GroupKeys
    columns: tuple[Column, ...]
    layers: tuple[int, ...]
    segments: tuple[Segment, ...]
    count: NDArray[np.int64]


def read_rows(
    trace: Trace,
    block: str,
    layers: Sequence[Layer],
    steps: Iterable[int] | None,
    branch: str,
    weigh: Callable[[Layer], QueryWeights],
) -> list[RowMeans]:
    """Read means of rows of a block, for each kind of layers with the same keys.

    Args:
        trace: with maps of the block.
        block: which queries and keys.
        layers: that have it.
        steps: indices; None is every step.
        branch: guidance row.
        weigh: the part that each query of a layer's block has in each group.

    Raises:
        TraceError: there are no such maps or steps, or none of the layers ran.
    """
    at = index_of("branch", branch, trace.branches)
    kinds: dict[tuple[Column, ...], _RowSums] = {}
    steps = None if steps is None else list(steps)
    for layer in layers:
        view = trace.pieces("map", layer.index, block)
        weights = weigh(layer)
        used = np.flatnonzero(weights.any(1))
        sums = kinds.setdefault(view.columns, _RowSums(layer, block))
        read = view.reader((at, slice(None), used, slice(None)))
        for lead in view.leads(steps):
            sums.add(layer, np.einsum("sqk,qg->sgk", read(lead).astype(np.float64), weights[used]))
    means = [sums.mean(columns) for columns, sums in kinds.items() if sums.layers]
    if not means:
        where = trace.folder or "the trace"
        raise TraceError(f"none of the layers with {block} ran in the asked steps of {where}")
    return means


class _RowSums:
    """Adds up what groups of queries read in layers with the same keys."""

    def __init__(self, layer: Layer, block: str) -> None:
        self.segments = part(layer.keys, block.partition(".")[2])
        self.layers: set[int] = set()
        self._sum: NDArray[np.float64] | None = None
        self._count: NDArray[np.int64] = np.zeros(1, np.int64)

    def add(self, layer: Layer, rows: GroupKeys) -> None:
        """Add one step of one layer; a sample in which it did not run is NaN and does not count."""
        ran = np.asarray(~np.isnan(rows).any((1, 2)))
        if ran.any():
            known = np.where(ran[:, None, None], rows, 0)
            self._sum = known if self._sum is None else self._sum + known
            self._count = self._count + ran
            self.layers.add(layer.index)

    def mean(self, columns: tuple[Column, ...]) -> RowMeans:
        """Return the mean of what was added."""
        count = np.where(self._count > 0, self._count, np.nan)
        values = np.asarray(self._sum / count[:, None, None], np.float64)
        return RowMeans(values, columns, tuple(sorted(self.layers)), self.segments, self._count)


def lay_images(means: Sequence[RowMeans]) -> dict[str, GridMaps]:
    """Return what is given to each image segment of the keys, laid out on its finest grid.

    Args:
        means: of one block, each of its own kind of layers.

    Returns:
        (sample, group, row, column) by the name of the segment, mean over all layers and steps; of
        a video, the sum over its frames. The
        amount of a coarse cell is shared out among those that it covers, so that the sum over a map
        is the part of the attention that goes to that image.
    """
    laid: dict[str, GridMaps] = {}
    weights = np.stack([np.broadcast_to(mean.count, len(mean.values)) for mean in means])
    parts = weights / np.maximum(weights.sum(0), 1)
    names = dict.fromkeys(part.name for mean in means for part in mean.segments if part.grid)
    for name in names:
        grids = [_grid(mean, name) for mean in means]
        finest = max((grid for grid in grids if grid), key=math.prod)
        laid[name] = np.zeros((*means[0].values.shape[:2], *finest))
        for mean, grid, weight in zip(means, grids, parts, strict=True):
            if grid:
                laid[name] += _lay(mean, name, grid, finest) * weight[:, None, None, None]
    return laid


def _grid(mean: RowMeans, name: str) -> Plane | None:
    """Return rows and columns of an image segment of the keys, None where there is none."""
    return next((part.plane for part in mean.segments if part.name == name), None)


def _lay(mean: RowMeans, name: str, grid: Plane, finest: Plane) -> GridMaps:
    """Lay out the keys of one image segment on a grid; of what never ran, zeros."""
    at = [index for index, column in enumerate(mean.columns) if column.segment == name]
    maps = np.nan_to_num(mean.values[..., at].reshape(*mean.values.shape[:2], -1, *grid).sum(2))
    return np.asarray(resample_values(maps, finest), np.float64) * (
        math.prod(grid) / math.prod(finest)
    )
