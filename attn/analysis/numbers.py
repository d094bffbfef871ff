"""Numbers of which some are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def mean_present(array: Numbers, axis: int) -> Numbers:
    """Return the mean of what is not NaN along an axis; NaN where nothing is."""
    present = ~np.isnan(array)
    if present.all() and array.shape[axis]:
        return np.asarray(np.where(present, array, 0.0).sum(axis) / array.shape[axis])
    count = present.sum(axis)
    total = np.where(present, array, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def or_nan(values: Sequence[float | None]) -> Numbers:
    """Return numbers as an array, NaN for each that is missing."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
