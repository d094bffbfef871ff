"""What figures of how a text was decided show, in a sentence made from what they draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import mean_present
from attn.analysis.texts.findings import NOTHING, percent
from attn.wording import digits

if TYPE_CHECKING:
    import xarray as xr

HARDLY = 0.3
"""Correlations below this are told as hardly any."""


def tell_unmasking(confidence: xr.DataArray) -> str:
    """Say when half of a text was decided, and how surely; (step, position), NaN is undecided."""
    decided = np.isfinite(confidence.values)
    total = int(decided.sum())
    if not total:
        return "No position was decided in these steps"
    half = int(np.searchsorted(np.cumsum(decided.sum(1)), total / 2))
    return (
        f"Half of {total} tokens were decided by step {confidence['step'].values[half]} of "
        f"{confidence['step'].values[-1]}, with a mean confidence of "
        f"{np.nanmean(confidence.values):.3g}"
    )


def tell_states(states: xr.DataArray) -> str:
    """Say what masked and decided rows read of the prompt; (rows, keys, step)."""
    read = {
        name: float(mean_present(states.sel(rows=name, keys="prompt").values, 0))
        for name in ("masked", "decided")
    }
    there = {name: value for name, value in read.items() if np.isfinite(value)}
    if not there:
        return NOTHING
    first, *rest = (f"{name} positions give {percent(value)}" for name, value in there.items())
    others = "".join(f", and {other}" for other in rest)
    return f"{first.capitalize()} of their attention to the prompt{others}"


def tell_certainty(together: float, count: int, constant: str = "confidence") -> str:
    """Say how confidence and what was read of the prompt go together.

    Args:
        together: Pearson's correlation, NaN where one of both does not vary.
        count: of decisions.
        constant: what does not vary, if one of both does not.
    """
    if not np.isfinite(together):
        return f"{constant.capitalize()} is the same in all {count} decisions"
    if abs(together) < HARDLY:
        return f"How sure a decision is hardly goes with reading the prompt (r {digits(together)})"
    way = "more" if together > 0 else "less"
    return f"Surer decisions read {way} of the prompt (r {digits(together)}, {count} decisions)"
