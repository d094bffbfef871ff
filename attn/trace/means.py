"""Means of maps over layers and steps: the one place in which maps are added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError
from attn.schema import Column, Layer, Plane, block_names
from attn.shapes import KeyMaps
from attn.trace.grids import resample_values
from attn.trace.labels import key_labels
from attn.trace.measures.axes import LISTED, index_of, query_grid
from attn.wording import list_some

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.measures.views import MeasureView
    from attn.trace.trace import Trace


class MapSums:
    """Adds up maps grid by grid, with the maps of one layer and step in memory at a time.

    Every step of every layer that ran counts the same. What did not run is NaN and does not count.

    Attributes:
        views: the layers' maps, or head maps.
        layers: indices of the layers that are in the sums.
    """

    def __init__(
        self,
        views: Sequence[MeasureView],
        branch: int,
        samples: slice = slice(None),
        heads: Sequence[int] | None = None,
        frame: int | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            views: of layers of one tower with the same keys, see `image_views`.
            branch: place of the guidance row.
            samples: which pictures.
            heads: of `headmap`, whose mean is taken; None where the views are maps.
            frame: of views by frame; None where the views have no such axis.
        """
        self.views = views
        self.layers: set[int] = set()
        self._heads = heads
        inner = (*(() if frame is None else (frame,)), *(slice(None),) * 3)
        every = () if heads is None else (np.array(heads, np.int64),)
        self._readers = [view.reader((branch, samples, *every, *inner)) for view in views]
        self._sums: dict[Plane, NDArray[np.float64]] = {}
        self._count: NDArray[np.int64] = np.zeros(1, np.int64)

    def add(self, lead: tuple[int, ...]) -> None:
        """Add what one step has; `lead` is one of `MeasureView.leads`."""
        for view, read in zip(self.views, self._readers, strict=True):
            maps = read(lead)
            if self._heads is not None:
                maps = np.asarray(maps.mean(1, np.float64))
            ran = np.asarray(~np.isnan(maps).any((1, 2, 3)))
            if view.grid and ran.any():
                total = self._sums.setdefault(view.grid, np.zeros(maps.shape))
                total += np.where(ran[:, None, None, None], maps, 0)
                self._count = self._count + ran
                self.layers.add(view.layer.index)

    def merge(self, other: MapSums) -> None:
        """Add what another has, of other layers with the same keys."""
        for grid, total in other._sums.items():
            self._sums[grid] = self._sums[grid] + total if grid in self._sums else total
        self._count = self._count + other._count
        self.layers |= other.layers

    def mean(self, grid: Plane | None = None) -> KeyMaps:
        """Return (sample, row, column, key), probability, 0 to 1; NaN for samples without maps.

        Args:
            grid: rows and columns; None is the finest grid that was added.

        Raises:
            TraceError: nothing was added.
        """
        if not self._sums:
            where = self.views[0].source.folder or "the trace"
            raise TraceError(f"none of the asked layers ran in the asked steps of {where}")
        finest = grid or max(self._sums, key=lambda sizes: sizes[0] * sizes[1])
        grids = [np.moveaxis(total, 3, 1) for total in self._sums.values()]  # keys before the grid
        laid = [resample_values(maps, finest) for maps in grids]
        summed = np.stack(laid).sum(0, np.float64) if len(laid) > 1 else laid[0].astype(np.float64)
        total = np.moveaxis(summed, 1, 3)
        count = np.where(self._count > 0, self._count, np.nan)
        return np.asarray(total / count[:, None, None, None])

    def means(self) -> MeanMaps:
        """Return what was added, on the finest grid.

        Raises:
            TraceError: nothing was added.
        """
        return MeanMaps(self.mean(), self.views[0].columns, tuple(sorted(self.layers)))


@dataclass(frozen=True)
class MeanMaps:
    """One map per key, made of those of many layers and steps.

    Attributes:
        values: (sample, row, column, key), probability.
        columns: what the axis `key` stands for.
        layers: indices of those that are in it, in order.
    """

    values: KeyMaps
    columns: tuple[Column, ...]
    layers: tuple[int, ...]


def average(
    trace: Trace, block: str, layers: Sequence[Layer], steps: Iterable[int] | None, branch: str
) -> MeanMaps:
    """Return the mean maps of all samples over layers and steps.

    Args:
        trace: with maps.
        block: whose queries are one image.
        layers: of one tower.
        steps: indices; None is every step.
        branch: guidance row.

    Raises:
        TraceError: there are no such maps, or the layers are not to be averaged.
    """
    views = image_views(trace, block, layers)
    sums = MapSums(views, index_of("branch", branch, trace.branches))
    for lead in views[0].leads(steps):
        sums.add(lead)
    return sums.means()


def mean_maps(
    trace: Trace,
    block: str,
    layers: Sequence[Layer],
    steps: Iterable[int] | None,
    cells: tuple[int, slice],
    grid: Plane | None,
) -> xr.DataArray:
    """Return `Trace.mean_maps` of layers; `cells` are the guidance row and the sample."""
    import xarray as xr

    row, samples = cells
    views = image_views(trace, block, layers)
    sums = MapSums(views, row, samples)
    for lead in views[0].leads(steps):
        sums.add(lead)
    values = sums.mean(grid)[0].astype(np.float32)
    labels = key_labels(trace.manifest, views[0].columns, [trace.branches[row]])
    attrs = {
        "measure": "map",
        "units": "probability",
        "block": block,
        "tower": views[0].layer.tower,
        "layers": sorted(sums.layers),
    }
    return xr.DataArray(values, labels, ("row", "column", "key"), "map", attrs)


def find_layers(
    trace: Trace, block: str, layers: Iterable[int | str] | None, tower: str | None
) -> list[Layer]:
    """Return the layers that are meant: by index or path, or all that keep a block on a grid.

    Args:
        trace: the trace.
        block: whose queries are one image.
        layers: indices or paths; None is every kept layer with such maps.
        tower: only layers of this one; None is any, if all are in one.

    Raises:
        TraceError: there are none, or they are in several towers.
    """
    if tower is not None:
        index_of("tower", tower, list(dict.fromkeys(layer.tower for layer in trace.layers)))
    if layers is None:
        kept = [layer for layer in trace.layers if layer.index in trace.manifest.kept.layers]
        having = [layer for layer in kept if block in block_names(layer)]
        selected = [layer for layer in having if query_grid(layer, block)]
        selected = [layer for layer in selected if tower in (None, layer.tower)]
    else:
        selected = [trace.layer(_full_name(which, tower)) for which in layers]
    if not selected:
        of_tower = "" if tower is None else f" of the tower '{tower}'"
        where = trace.folder or "the trace"
        raise TraceError(f"no kept layer{of_tower} of {where} has maps {block} on a grid")
    other = next((layer for layer in selected if tower not in (None, layer.tower)), None)
    if other is not None:
        raise TraceError(f"layer {other.index} ({other.path}) is in '{other.tower}', not '{tower}'")
    return selected


def image_views(
    trace: Trace, block: str, layers: Sequence[Layer], name: str = "map", frame: int | None = None
) -> list[MeasureView]:
    """Return the maps of layers that can be averaged: of one tower, on grids, with the same keys.

    Args:
        trace: the trace.
        block: whose queries are one image.
        layers: not empty.
        name: `map` or `headmap`.
        frame: of a video, whose views then are by frame.

    Raises:
        TraceError: there are no such maps or frames, or the layers differ in tower or keys.
    """
    towers = list(dict.fromkeys(layer.tower for layer in layers))
    if len(towers) > 1:
        raise TraceError(
            f"the layers are in the towers {list_some(towers, LISTED)}, which are different "
            "networks and have no common mean: name one, such as "
            f"tower='{towers[0]}', or layers of one"
        )
    by_frame = frame is not None
    views = [
        trace.pieces(name, layer.index, block, lay_out=True, by_frame=by_frame) for layer in layers
    ]
    for view in views:
        if view.grid is None:
            raise TraceError(f"the queries of {block} in {view.layer.path} have no grid")
        if frame is not None and not view.frames:
            raise TraceError(f"{view.layer.path} has no frames, but a picture: leave frame out")
        if frame is not None:
            index_of("frame", frame, range(view.frames))
        if view.columns != views[0].columns:
            raise TraceError(
                f"{block} has other keys in layer {view.layer.path} than in "
                f"{views[0].layer.path}: average layers with the same keys (layers=…)"
            )
    return views


def _full_name(which: int | str, tower: str | None) -> int | str:
    is_short = isinstance(which, str) and ":" not in which
    return f"{tower}:{which}" if tower is not None and is_short else which
