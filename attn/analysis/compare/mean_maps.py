"""The maps of a comparison, for Python: mean over its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.changes import changes, coarse_grid, located
from attn.errors import AnalysisError

if TYPE_CHECKING:
    import xarray as xr

    from attn.analysis.compare.pairs import Pair

VALUES = ("base", "variant", "change", "low", "high")


def mean_maps(pairs: Sequence[Pair], words: Sequence[str] | None) -> xr.DataArray:
    """Return where each word is read in base and variant, and the change with its 95 % interval.

    Args:
        pairs: of one variant.
        words: only these; None is all.

    Returns:
        (value, word, row, column), probability, means over pairs, on the grid of `difference.png`;
        beside `word` stands its `segment`.

    Raises:
        AnalysisError: the pairs have no maps.
    """
    import xarray as xr

    grid = coarse_grid(pairs)
    told = [] if grid is None else changes(pairs, located(grid), words)
    if not told:
        raise AnalysisError("these runs have no maps to compare: capture with --keep means or maps")
    values = [np.stack([getattr(entry.change, name) for entry in told]) for name in VALUES]
    return xr.DataArray(
        np.stack(values),
        {
            "value": list(VALUES),
            "word": [entry.term.label for entry in told],
            "segment": ("word", [entry.term.segment for entry in told]),
        },
        ("value", "word", "row", "column"),
        attrs={"unit": "attention probability", "pairs": len(pairs)},
    )
