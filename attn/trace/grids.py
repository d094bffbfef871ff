"""Maps on grids of other sizes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.schema import Plane

if TYPE_CHECKING:
    import xarray as xr


def resample(maps: xr.DataArray, grid: Plane) -> xr.DataArray:
    """Lay maps out on another grid, each new cell the mean of what it covers of the old ones.

    Args:
        maps: any array with the axes `row` and `column`.
        grid: rows and columns of the result, coarser or finer, in any ratio.

    Returns:
        The maps in float32, axes in the same order; their mean over the picture stays the same.
    """
    import xarray as xr

    if (maps.sizes["row"], maps.sizes["column"]) == tuple(grid):
        return maps.astype(np.float32, copy=False)
    last = maps.transpose(..., "row", "column")
    values = resample_values(last.values, grid)
    kept = last.drop_vars(
        [name for name, coord in last.coords.items() if {"row", "column"} & {*coord.dims}]
    )
    result = xr.DataArray(values, kept.coords, last.dims, maps.name, maps.attrs)
    return result.transpose(*maps.dims)


def resample_values(maps: NDArray[np.floating], grid: Plane) -> NDArray[np.float32]:
    """Lay maps (…, row, column) out on another grid; see `resample`."""
    if maps.shape[-2:] == tuple(grid):
        return maps.astype(np.float32, copy=False)
    rows, columns = (_overlaps(old, new) for old, new in zip(maps.shape[-2:], grid, strict=True))
    values: NDArray[np.float32] = rows @ np.asarray(maps, np.float32, order="C") @ columns.T
    return values


@lru_cache(maxsize=2**5)  # thousands of traces have the same few grids
def _overlaps(old: int, new: int) -> np.ndarray:
    """Return (new, old) float32: which part of each new cell an old cell covers; rows sum to 1."""
    starts, olds = np.arange(new)[:, np.newaxis] * old, np.arange(old) * new
    covered = np.minimum(starts + old, olds + new) - np.maximum(starts, olds)
    parts = (covered.clip(0) / old).astype(np.float32)
    parts.setflags(write=False)
    return parts
