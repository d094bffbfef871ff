"""Where what a word names is in a picture, and silly maps that know nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attn.analysis.numbers import Numbers
from attn.schema import Plane
from attn.trace.grids import resample_values

Region = NDArray[np.bool_]

HALF = 0.5


@dataclass(frozen=True, eq=False)
class WordRegion:
    """A word or phrase, and where what it names is.

    Attributes:
        word: as in the prompt.
        role: its class, over which scores are averaged.
        region: (row, column) of the picture; some of it, but not all.
    """

    word: str
    role: str
    region: Region


def coarsen(region: ArrayLike, grid: Plane) -> Region:
    """Bring a region to the grid of a map: a place belongs to it if at least half of its area does.

    A region too small for that keeps the places that it covers most.

    Args:
        region: (row, column) of booleans or of coverage 0 to 1, of any size.
        grid: (rows, columns).
    """
    share = resample_values(np.asarray(region, np.float32), grid)
    enough = min(HALF, float(share.max()))
    return np.asarray((share >= enough) & (share > 0))


def whole_picture(grid: Plane) -> Numbers:
    """Return the map that knows nothing: equal everywhere."""
    return np.ones(grid)


def centre_blob(grid: Plane) -> Numbers:
    """Return the map that always points to the middle: a Gaussian, a quarter of a side wide."""
    rows, columns = ((np.arange(count) - (count - 1) / 2) * 4 / count for count in grid)
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns**2) / 2))
