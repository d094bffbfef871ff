"""Texts that grow: steps that have other lengths, as arrays of one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from attn.schema import MEASURES, Shard, part
from attn.trace.measures.axes import AxisPart
from attn.trace.measures.views import MeasureView
from attn.trace.shapes import Window, find_window, spans_of


@dataclass(frozen=True)
class GrowingView(MeasureView):
    """A measure of steps that read different spans of a text; what a step does not have is NaN."""

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes by name, in order: those of the whole text."""
        manifest, dims = self.source.manifest, MEASURES[self.name]
        shape = {dim: stop for dim, (_, stop) in self._windows(None).items()}
        lead = {"step": len(self.shards), "branch": len(manifest.branches)}
        return lead | {"sample": manifest.samples} | {dim: shape[dim] for dim in dims}

    @cached_property
    def dtype(self) -> np.dtype:
        """Dtype of what is handed out."""
        held = (shard.file for shard in self.shards if self.tensor in self._held(shard.file))
        _, dtype = self.source.describe(next(held), self.tensor)
        return np.dtype(np.float32) if self.name in ("map", "headmap") else dtype

    @cached_property
    def _by_file(self) -> dict[str, Shard]:
        return {shard.file: shard for shard in self.shards}

    def _held(self, file: str) -> tuple[str, ...]:
        return self.source.tensors(file)

    def _windows(self, span: Window | None) -> dict[str, Window]:
        """Return what a step of some span has of each axis; None is the whole text."""
        layer, spans = self.layer, spans_of(self.source.manifest)
        query, _, key = (self.block or "all.all").partition(".")
        queries, keys = part(layer.queries, query), part(layer.keys, key or "all")
        rows = find_window(queries, spans, span)
        columns = find_window(keys, spans, None if span is None else (0, span[1]))
        heads = layer.num_heads
        if self.name == "key":
            heads = layer.num_key_heads or heads
        return {
            "head": (0, heads),
            "query": rows,
            "key": columns,
            "position": columns if self.name == "key" else rows,
            "segment": (0, len(layer.keys)),
            "channel": (0, layer.head_dim or 0),
        }

    def _pieces(self, selection: Sequence[AxisPart]) -> Callable[[str], np.ndarray]:
        return partial(self._piece, selection)

    def _piece(self, selection: Sequence[AxisPart], file: str) -> np.ndarray:
        """Lay what one step has of a selection where it is in the whole text."""
        shape = [part.count for part in selection if part.count is not None]
        indices = [np.atleast_1d(part.indices) for part in selection]
        piece = np.full([len(places) for places in indices], np.nan, self.dtype)
        if self.tensor not in self._held(file):
            return piece.reshape(shape)
        step = self._by_file[file].step
        windows = self._windows(step.span if step else None)
        lead = {"branch": (0, self.sizes["branch"]), "sample": (0, self.sizes["sample"])}
        dims = [dim for dim in self.sizes if dim != "step"]
        there, local = [], []
        for dim, places in zip(dims, indices, strict=True):
            start, stop = (lead | windows)[dim]
            inside = (places >= start) & (places < stop)
            there.append(np.flatnonzero(inside))
            local.append(places[inside] - start)
        if all(map(len, there)):
            piece[np.ix_(*there)] = self._stored(file, windows)[np.ix_(*local)]
        return piece.reshape(shape)

    def _stored(self, file: str, windows: Mapping[str, Window]) -> np.ndarray:
        stored = self.source.read(file, self.tensor)
        if self._is_head_mean:
            return np.asarray(stored.mean(axis=2, dtype=np.float32))
        if self.name == "mask":  # an axis that repeats has size 1
            shape = [stop - start for start, stop in (windows[dim] for dim in MEASURES["mask"])]
            return np.broadcast_to(stored, (*stored.shape[:2], *shape))
        return stored
