"""Means of maps for a page: over the layers of a net at a step, and over the steps of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attn.schema import Plane
from attn.trace.grids import resample_values
from attn.trace.store import TraceFiles

Maps = NDArray[np.floating]
"""(branch, sample, query, key)."""


@dataclass(frozen=True)
class Net:
    """Layers whose maps have a common mean.

    Attributes:
        name: of the mean, where a layer's index stands in names of tensors.
        block: of the maps.
        grids: rows and columns of each layer by its index; None where queries are no picture.
        halvings: how often all grids are halved.
        frames: of the layers whose queries are a video, over which the mean is taken.
    """

    name: str
    block: str
    grids: Mapping[int, Plane | None]
    halvings: int = 0
    frames: Mapping[int, int] = field(default_factory=dict)

    @property
    def grid(self) -> Plane | None:
        """The finest grid of its layers, as it is kept."""
        grids = [self.kept_grid(layer) for layer in self.grids]
        return max(
            (grid for grid in grids if grid), key=lambda grid: grid[0] * grid[1], default=None
        )

    def kept_grid(self, layer: int) -> Plane | None:
        """Return rows and columns of a layer as they are kept."""
        grid = self.grids[layer]
        return grid and (-(-grid[0] // 2**self.halvings), -(-grid[1] // 2**self.halvings))

    def read(self, files: TraceFiles, file: str, layer: int) -> Maps | None:
        """Return a layer's maps of one file, mean over heads; None where there are none."""
        names = files.tensors(file)
        name, single = (f"{layer}/{kind}.{self.block}" for kind in ("map", "headmap"))
        if name in names:
            return self.still(files.read(file, name).astype(np.float32), layer)
        if single in names:
            return self.still(np.asarray(files.read(file, single).mean(2, np.float32)), layer)
        return None

    def still(self, maps: Maps, layer: int) -> Maps:
        """Return maps (…, query, key) of a layer, of a video the mean over its frames."""
        count = self.frames.get(layer, 0)
        if not count:
            return maps
        parted = maps.reshape(*maps.shape[:-2], count, -1, maps.shape[-1])
        return np.asarray(parted.mean(-3, np.float32))

    def lay(self, maps: Maps, layer: int, grid: Plane | None) -> Maps:
        """Return maps of a layer, or heads of them, on another grid."""
        own = self.grids[layer]
        if own is None or grid is None or own == grid:
            return maps
        inner = np.moveaxis(maps.reshape((*maps.shape[:-2], *own, maps.shape[-1])), -1, -3)
        laid = np.moveaxis(resample_values(inner, grid), -3, -1)
        return laid.reshape((*maps.shape[:-2], -1, maps.shape[-1]))

    def mean(self, maps: Mapping[int, Maps]) -> Maps:
        """Return the mean over layers, of those that ran, on the finest grid."""
        return mean_of([self.lay(own, layer, self.grid) for layer, own in maps.items()])


def mean_of(maps: Sequence[Maps]) -> Maps:
    """Return the mean of those maps that have no NaN, for each branch and sample."""
    total, count = np.zeros(maps[0].shape, np.float32), np.zeros((*maps[0].shape[:2], 1, 1))
    for each in maps:
        ran = ~np.isnan(each).any((2, 3), keepdims=True)
        total += np.where(ran, each, 0)
        count += ran
    return np.asarray(np.where(count, total / np.maximum(count, 1), np.nan), np.float32)


class StepMeans:
    """Adds up a layer's maps over steps."""

    def __init__(self) -> None:
        self._sums: dict[str, Maps] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}

    def add(self, name: str, maps: Maps) -> None:
        """Add a step; what did not run does not count."""
        ran = ~np.isnan(maps).any((2, 3), keepdims=True)
        if name not in self._sums:
            self._sums[name] = np.zeros(maps.shape, np.float32)
            self._counts[name] = np.zeros(ran.shape, np.int64)
        self._sums[name] += np.where(ran, maps, 0)
        self._counts[name] += ran

    def mean(self, name: str) -> Maps | None:
        """Return the mean of what was added; None of nothing."""
        if name not in self._sums:
            return None
        count = self._counts[name]
        return np.where(count, self._sums[name] / np.maximum(count, 1), np.nan)
