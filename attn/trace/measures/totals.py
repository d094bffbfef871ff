"""The measure `total` of traces that keep it in part, because the rest is sums of masses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from attn.schema import MEASURES, Layer, part, without_mass
from attn.trace.measures.axes import AxisPart, index_of
from attn.trace.measures.growing import GrowingView
from attn.trace.measures.lookup import find
from attn.trace.measures.sources import TensorSource
from attn.trace.measures.views import MeasureView
from attn.trace.shapes import is_of_growing


@dataclass(frozen=True)
class SumView(MeasureView):
    """A `total` of which only segments without masses are stored; the others are sums of masses.

    Attributes:
        addends: of each key segment the tensor that holds it, and its places on the last axis.
    """

    addends: tuple[tuple[MeasureView, slice], ...] = ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes by name, in order; `step` first where there is one."""
        lengths = self.addends[0][0].sizes
        kept = {dim: lengths[dim] for dim in ("step", "branch", "sample", "head")}
        return kept | {"segment": len(self.addends)}

    @cached_property
    def dtype(self) -> np.dtype:
        """Dtype of what is handed out."""
        return self.addends[0][0].dtype

    def require_fit(self) -> None:
        """Refuse tensors that the manifest does not describe, those that are added up too."""
        super().require_fit()
        for view, _ in self.addends:
            if view.name == "mass":
                view.require_fit()

    def _pieces(self, selection: Sequence[AxisPart]) -> Callable[[str], np.ndarray]:
        return partial(self._piece, selection)

    def _piece(self, selection: Sequence[AxisPart], file: str) -> np.ndarray:
        sums = [_sum(view, file, selection[:-1], keys) for view, keys in self.addends]
        totals = np.stack(sums, -1)
        has_run = ~np.isnan(totals).all(-1, keepdims=True)
        totals = np.where(has_run & np.isnan(totals), 0, totals)  # a segment that is not there yet
        return np.asarray(totals[..., selection[-1].indices])


def _sum(view: MeasureView, file: str, lead: Sequence[AxisPart], keys: slice) -> np.ndarray:
    """Return the sum of a measure over some keys of one step, NaN where there are none."""
    length = tuple(view.sizes.values())[-1]
    values = view._pieces([*lead, AxisPart.of(keys, length)])(file)
    is_empty = np.isnan(values).all(-1)
    return np.where(is_empty, np.nan, np.nansum(values, -1))


def find_any(
    source: TensorSource,
    name: str,
    layer: Layer,
    block: str | None,
    *,
    lay_out: bool = False,
    by_frame: bool = False,
) -> MeasureView:
    """Find a measure as `find` does, a `total` too."""
    index_of("measure", name, tuple(MEASURES))
    if name == "total":
        return find_total(source, layer, block)
    return find(source, name, layer, block, lay_out=lay_out, by_frame=by_frame)


def find_total(source: TensorSource, layer: Layer, query: str | None) -> MeasureView:
    """Find the `total` of a query part, or make it of masses where not all of it is stored.

    Raises:
        TraceError: the trace does not hold it.
    """
    shards = tuple(shard for shard in source.manifest.shards if shard.step is not None)
    bare = without_mass(layer, query or "", layer.blocks)
    stored = f"{layer.index}/total.{query}"
    some = shards if is_of_growing(shards) else shards[:1]
    held = next((shard.file for shard in some if stored in source.tensors(shard.file)), None)
    columns = source.describe(held, stored)[0][-1] if held else 0
    if not shards or len(bare) == len(layer.keys) or columns != len(bare):
        return find(source, "total", layer, query)
    kind = GrowingView if is_of_growing(shards) else MeasureView
    total = kind(source, shards, stored, "total", layer, query)
    addends = {segment: (total, slice(index, index + 1)) for index, segment in enumerate(bare)}
    for block in (block for block in layer.blocks if block.split(".")[0] == query):
        mass, start = find(source, "mass", layer, block), 0
        for segment in part(layer.keys, block.split(".")[1]):
            addends.setdefault(segment, (mass, slice(start, start + segment.length)))
            start += segment.length
    parts = tuple(addends[segment] for segment in layer.keys)
    return SumView(source, shards, parts[0][0].tensor, "total", layer, query, addends=parts)
