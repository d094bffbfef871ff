"""Labelled views of a trace's tensors, which read only what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.errors import TraceError
from attn.schema import (
    CONCEPT_MEASURES,
    GATE_STATISTICS,
    MEASURES,
    Column,
    Layer,
    Plane,
    Shard,
    block_columns,
)
from attn.trace.labels import attributes, key_labels, step_labels
from attn.trace.measures.arrays import lazy_array
from attn.trace.measures.axes import AxisPart, all_columns, index_of
from attn.trace.measures.sources import TensorSource

if TYPE_CHECKING:
    import xarray as xr

MAPS = ("map", "headmap", *CONCEPT_MEASURES)
"""Measures with a value for each place of a picture."""

Selection = tuple[int | slice | np.ndarray, ...]
"""One selection per axis, each on its own."""


@dataclass(frozen=True)
class MeasureView:
    """One measure of one layer over all steps, read a piece at a time.

    Attributes:
        source: where the tensors are.
        shards: one per step, or the one with the means over steps.
        tensor: its name in the shards.
        name: the measure; a `map` may be the head mean of a stored `headmap`.
        layer: the layer.
        block: the block; for `total`, `gate` and concepts the query part, None for factors.
        grid: rows and columns that the axis `query` is laid out in, or None to leave it.
        frames: of a video, over which the mean is taken; 0 of a picture.
        by_frame: whether frames are an axis instead.
    """

    source: TensorSource
    shards: tuple[Shard, ...]
    tensor: str
    name: str
    layer: Layer
    block: str | None
    grid: Plane | None = None
    frames: int = 0
    by_frame: bool = False

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes by name, in order; `step` first where there is one."""
        shape, _ = self.source.describe(self.shards[0].file, self.tensor)
        dims = ("branch", "sample", *MEASURES[self.name])
        if self._is_head_mean:
            shape = (*shape[:2], *shape[3:])
        if self.grid:
            query = dims.index("query")
            lead = {"frame": self.frames} if self.by_frame else {}
            dims = (*dims[:query], *lead, "row", "column", *dims[query + 1 :])
            shape = (*shape[:query], *lead.values(), *self.grid, *shape[query + 1 :])
        steps = {"step": len(self.shards)} if self.is_stepwise else {}
        return steps | dict(zip(dims, shape, strict=True))

    @cached_property
    def dtype(self) -> np.dtype:
        """Dtype of what is handed out: maps are float32, so that means over them are too."""
        _, dtype = self.source.describe(self.shards[0].file, self.tensor)
        return np.dtype(np.float32) if self.name in MAPS else dtype

    @property
    def is_stepwise(self) -> bool:
        """Whether there is a value per step, not only their mean."""
        return self.shards[0].step is not None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What the axis `key` stands for."""
        manifest = self.source.manifest
        if self.name in ("map", "headmap") and self.block:
            return block_columns(self.layer, self.block, manifest.kept.columns)
        return all_columns(manifest, self.layer, self.block or "all.all")

    def read(self, selection: Selection) -> np.ndarray:
        """Read a selection; of every shard no more than what the selection spans."""
        sizes = self.sizes.values()
        parts = [AxisPart.of(one, size) for one, size in zip(selection, sizes, strict=True)]
        shape = [part.count for part in parts if part.count is not None]
        if 0 in shape:
            return np.empty(shape, self.dtype)
        steps = parts.pop(0).indices if self.is_stepwise else np.array(0)
        read = self._pieces(parts)
        if not steps.ndim:
            return np.array(read(self.shards[int(steps)].file), self.dtype, order="C")
        result = np.empty(shape, self.dtype)
        for index, step in enumerate(steps):
            result[index] = read(self.shards[step].file)
        return result

    def reader(self, selection: Selection) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Return what reads the same selection of every step, which is one of `leads`.

        Args:
            selection: of the axes but `step`, none of them empty.
        """
        sizes = list(self.sizes.values())[self.is_stepwise :]
        parts = [AxisPart.of(one, size) for one, size in zip(selection, sizes, strict=True)]
        read = self._pieces(parts)

        def read_step(lead: tuple[int, ...]) -> np.ndarray:
            (step,) = lead or (0,)
            return np.array(read(self.shards[step].file), self.dtype, order="C")

        return read_step

    def values(self, steps: Iterable[int]) -> np.ndarray:
        """Return (branch, sample, step, …) of some steps, read at once and without labels.

        Raises:
            TraceError: there is no such step, or the tensors are not what the manifest says.
        """
        self.require_fit()
        cells = np.array([cell for (cell,) in self.leads(steps)], np.int64)
        others = [slice(None)] * (len(self.sizes) - 1)
        return np.moveaxis(self.read((cells, *others)), 0, 2)

    def leads(self, steps: Iterable[int] | None) -> list[tuple[int, ...]]:
        """Return the leading indices, before (branch, sample, …), that select each step.

        Raises:
            TraceError: there is no such step, or only the mean over all steps.
        """
        if not self.is_stepwise:
            if steps is None:
                return [()]
            raise TraceError(
                f"{self.source.folder or 'the trace'} keeps maps as means over all steps only: "
                "capture with --keep maps"
            )
        indices = [shard.step.index for shard in self.shards if shard.step]
        if steps is None:
            return [(at,) for at in range(len(indices))]
        return [(index_of("step", step, indices),) for step in steps]

    def labelled(self) -> xr.DataArray:
        """Return the view as a lazy array with all its coordinates."""
        import xarray as xr

        manifest = self.source.manifest
        self.require_fit()
        coords: dict[str, Any] = {"branch": np.array(manifest.branches, object)}
        coords["sample"] = np.arange(manifest.samples)
        if self.is_stepwise:
            coords |= step_labels(self.shards)
        if "segment" in self.sizes:
            coords["segment"] = np.array([segment.name for segment in self.layer.keys], object)
        if "statistic" in self.sizes:
            coords["statistic"] = np.array(GATE_STATISTICS, object)
        if "concept" in self.sizes:
            coords["concept"] = np.array(manifest.request.concepts, object)
        if self.sizes.get("key") == len(self.columns):  # a mask that repeats has size 1
            coords |= key_labels(manifest, self.columns, manifest.branches)
        attrs = attributes(self.name, self.layer, self.block)
        return xr.DataArray(lazy_array(self), coords, tuple(self.sizes), self.name, attrs)

    def require_fit(self) -> None:
        """Refuse tensors that the manifest does not describe."""
        manifest = self.source.manifest
        expected = {"branch": len(manifest.branches), "sample": manifest.samples}
        expected |= {"head": self.layer.num_heads, "segment": len(self.layer.keys)}
        expected |= {"statistic": len(GATE_STATISTICS), "concept": len(manifest.request.concepts)}
        if self.name not in ("key", "mask"):
            expected |= {"key": len(self.columns)}
        got = self.sizes
        wrong = [dim for dim in got if dim in expected and got[dim] != expected[dim]]
        if wrong:
            raise TraceError(
                f"{self.source.folder or 'the trace'}: {self.tensor} has {got[wrong[0]]} on the "
                f"axis {wrong[0]}, the manifest says {expected[wrong[0]]}; one of them is damaged"
            )

    @property
    def _is_head_mean(self) -> bool:
        return self.name == "map" and "/headmap." in self.tensor

    def _pieces(self, selection: Sequence[AxisPart]) -> Callable[[str], np.ndarray]:
        """Return what reads a selection of a step: the span of it from its file, then the rest."""
        spans = [part.span for part in selection]
        index = list(spans)
        query = self._first_place
        if self.grid:
            index[query : query + 2 + self.by_frame] = [self._widen(spans, query)]
        if self._is_head_mean:
            index.insert(2, slice(None))
        shape = [span.stop - span.start for span in spans]
        is_mean = self.frames > 0 and not self.by_frame
        shape[query:query] = [self.frames] * is_mean
        taken = [(axis, part.within(spans[axis])) for axis, part in enumerate(selection)]

        def read(file: str) -> np.ndarray:
            piece = self.source.read(file, self.tensor, tuple(index))
            if self._is_head_mean:
                piece = np.asarray(piece.mean(axis=2, dtype=np.float32))
            piece = piece.reshape(shape)
            if is_mean:
                piece = np.asarray(piece.mean(axis=query, dtype=np.float32))
            for axis, local in reversed(taken):
                piece = piece if local is None else np.take(piece, local, axis=axis)
            return piece

        return read

    @property
    def _first_place(self) -> int:
        """Which axis of a step, as selected, is the first that places are laid out in."""
        names = list(self.sizes)[self.is_stepwise :]
        return names.index("frame" if self.by_frame else "row") if self.grid else 0

    def _widen(self, spans: list[slice], first: int) -> slice:
        """Return the queries of a span of places, and widen the spans of the axes after its first.

        Queries are in order of frames, rows, columns: what lies between two of them is read too.
        """
        rows, columns = self.grid or (0, 0)
        each = rows * columns if self.by_frame else columns
        if self.by_frame:
            spans[first + 1 : first + 3] = slice(0, rows), slice(0, columns)
        elif self.frames:
            spans[first : first + 2] = slice(0, rows), slice(0, columns)
            return slice(0, self.frames * rows * columns)
        else:
            spans[first + 1] = slice(0, columns)
        return slice(spans[first].start * each, spans[first].stop * each)
