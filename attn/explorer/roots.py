"""Maps as square roots in eight bits, with a scale for each key: what the one-file page holds.

A root spends its 256 levels on small values, which most of a map is: with levels of the value
itself the mean of a word would be off by a tenth, with those of the root by a hundredth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 255
PRECISION = 1 / LEVELS + 0.25 / LEVELS**2
"""How far a value can be off, as a part of the largest value of its key: 0.4 %."""
SCALE = ".scale"
"""What is added to the name of a tensor of roots for the tensor of its scales."""


def to_roots(maps: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return roots and scales of maps.

    Args:
        maps: (…, query, key), 0 and more; a map with a value that is NaN is NaN altogether.

    Returns:
        (…, query, key), `LEVELS · √(value / scale)`, rounded; and (…, key), the largest value of
        each key, NaN where the map is.
    """
    scale = maps.max(-2)
    is_there = ~np.isnan(scale).any(-1, keepdims=True)
    parts = np.where(is_there[..., None, :], maps, 0) / np.where(scale > 0, scale, 1)[..., None, :]
    roots = np.rint(LEVELS * np.sqrt(parts)).astype(np.uint8)
    return roots, np.where(is_there, scale, np.nan).astype(np.float32)


def from_roots(roots: NDArray[np.uint8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maps that roots and scales stand for, within `PRECISION`."""
    parts = np.square(roots.astype(np.float32) / LEVELS)
    return np.asarray(parts * scale[..., None, :])
