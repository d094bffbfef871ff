"""Where an image reads the tokens of its drawing, in models that read it as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.result import Result
from attn.analysis.tables import make_table
from attn.analysis.words.evolution import token_means
from attn.analysis.words.selection import BLOCK, Scale, Selection
from attn.trace.means import average

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

SEGMENT = "sketch"
STRONGEST = 3
SINGLES = "maps of single sketch tokens were not kept; capture with --keys all to see the strongest"


def read_tokens(trace: Trace, selection: Selection, scale: Scale = "auto") -> Result:
    """Return where the sketch tokens are read, and how much each gets, if there are any.

    Args:
        trace: what was captured.
        selection: of layers, steps and branch.
        scale: of the maps' colours, for the figure.

    Returns:
        The table `sketch/tokens.csv` of all tokens, those of most mass first; the array `tokens`
        (sample, series, row, column), attention probability: the sum over all of them, then, if
        there are maps of single ones, the three that get most by their mean over samples.

    Raises:
        TraceError: there are no maps.
    """
    mass = {
        position: values
        for (segment, position), values in token_means(trace, selection, "mass").items()
        if segment == SEGMENT
    }
    if not mass:
        return Result({})
    ranked = sorted(mass, key=lambda position: -float(mass[position].mean()))
    names = {
        token.position: token.text.strip("<>")
        for token in trace.tokens(selection.branch)
        if token.segment == SEGMENT
    }
    maps, lacks = _map_tokens(trace, selection, ranked, names)
    sample, rank = np.indices((len(mass[ranked[0]]), len(ranked))).reshape(2, -1)
    table = make_table(
        {
            "token": np.array([names[position] for position in ranked], object)[rank],
            "position": np.array(ranked)[rank],
            "sample": sample,
            "mass": np.stack([mass[position] for position in ranked])[rank, sample],
        }
    )
    notes = (SINGLES,) if lacks else ()
    maps.attrs["scale"] = scale
    return Result({"sketch/tokens.csv": table}, {"tokens": maps}, notes)


def _map_tokens(
    trace: Trace, selection: Selection, ranked: Sequence[int], names: Mapping[int, str]
) -> tuple[xr.DataArray, bool]:
    """Return the maps that are drawn, and whether those of single tokens are lacking."""
    import xarray as xr

    means = average(trace, BLOCK, selection.layers, selection.steps, selection.branch)
    columns = {
        column.position: at for at, column in enumerate(means.columns) if column.segment == SEGMENT
    }
    strongest = [position for position in ranked[:STRONGEST] if position in columns]
    together = means.values[..., list(columns.values())].sum(-1, keepdims=True)
    singles = means.values[..., [columns[position] for position in strongest]]
    labels = [f"all {len(ranked)} sketch tokens", *(names[position] for position in strongest)]
    maps = np.moveaxis(np.concatenate([together, singles], -1), -1, 1)
    attrs = {"branch": selection.branch, "unit": "attention probability"}
    array = xr.DataArray(
        maps, {"series": labels}, ("sample", "series", "row", "column"), attrs=attrs
    )
    return array, not strongest
