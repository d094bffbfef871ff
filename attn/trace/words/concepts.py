"""Maps of words outside the prompt, as `Trace.concept_maps` returns them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import TraceError
from attn.schema import CONCEPT_MEASURES
from attn.trace.means import MapSums
from attn.trace.measures.axes import index_of
from attn.trace.words.concept_keys import IMAGE, find_groups, regroup

if TYPE_CHECKING:
    import xarray as xr

    from attn.schema import Layer
    from attn.trace.measures.views import MeasureView
    from attn.trace.trace import Trace


def concept_maps(
    trace: Trace,
    measure: str,
    among: str | Iterable[str],
    layers: Iterable[int | str] | None,
    steps: Iterable[int] | None,
    branch: str,
) -> xr.DataArray:
    """Return `Trace.concept_maps`."""
    import xarray as xr

    index_of("measure", measure, CONCEPT_MEASURES)
    if layers is None:
        selected = concept_layers(trace, measure)
    else:
        selected = [trace.layer(which) for which in layers]
    if not selected:
        raise TraceError(
            f"{trace.folder or 'the trace'} has no {measure}: capture with --concepts WORD,WORD"
            + ("" if measure == "concepts" else ", of a model whose text and picture are joint")
        )
    listed = (among,) if isinstance(among, str) else tuple(among)
    names, views = _read(trace, measure, listed, selected)
    sums = MapSums(views, index_of("branch", branch, trace.branches))
    for lead in views[0].leads(steps):
        sums.add(lead)
    return xr.DataArray(
        np.moveaxis(sums.mean(), 3, 1).astype(np.float32),
        {"concept": np.array(names, object)},
        ("sample", "concept", "row", "column"),
        "concept_maps",
        {
            "measure": measure,
            "units": "share",
            "branch": branch,
            "tower": selected[0].tower,
            "layers": sorted(sums.layers),
        },
    )


def _read(
    trace: Trace, measure: str, among: Sequence[str], layers: Sequence[Layer]
) -> tuple[Sequence[str], Sequence[MeasureView]]:
    """Return the names of concepts, or of groups of them, and their maps in each layer."""
    names = trace.manifest.request.concepts
    if not among:
        return names, [trace.pieces(measure, layer.index, IMAGE, lay_out=True) for layer in layers]
    groups = find_groups(names, among)
    return [*groups], [regroup(trace, layer.index, groups.values()) for layer in layers]


def concept_layers(trace: Trace, measure: str) -> list[Layer]:
    """Return the layers that have maps of concepts."""
    having = []
    for layer in trace.layers:
        with suppress(TraceError):  # it has none
            trace.pieces(measure, layer.index, IMAGE)
            having.append(layer)
    return having if trace.manifest.request.concepts else []
