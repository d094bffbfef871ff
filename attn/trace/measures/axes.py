"""Parts of axes: which steps, samples, heads and keys of a tensor are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError, did_you_mean
from attn.schema import (
    Column,
    Layer,
    Manifest,
    Plane,
    Segment,
    part,
)
from attn.wording import list_some

LISTED = 8
"""So many of a list are told in a message."""
WHOLE = slice(None)


@dataclass(frozen=True)
class AxisPart:
    """What is selected of one axis.

    Attributes:
        span: from the first index to the last.
        picked: the indices; an array without axes selects one place, and removes the axis. None is
            all those of the span, in their order.
    """

    span: slice
    picked: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, selected: int | slice | np.ndarray, size: int) -> AxisPart:
        """Look at a selection of an axis of some size."""
        if isinstance(selected, slice) and selected == WHOLE:
            return _whole(size)
        if isinstance(selected, slice) and selected.step in (None, 1):
            start, stop, _ = selected.indices(size)
            return cls(slice(start, max(start, stop)))
        if isinstance(selected, int):
            return _single(selected, size)
        indices = np.asarray(np.arange(size)[selected])
        if not indices.size:
            return cls(slice(0, 0))
        return cls(slice(int(indices.min()), int(indices.max()) + 1), indices)

    @property
    def indices(self) -> NDArray[np.int64]:
        """Every index, on the axis."""
        return np.arange(self.span.start, self.span.stop) if self.picked is None else self.picked

    @property
    def count(self) -> int | None:
        """How many indices are selected; None if the axis is removed."""
        if self.picked is None:
            return int(self.span.stop - self.span.start)
        return len(self.picked) if self.picked.ndim else None

    def within(self, span: slice) -> NDArray[np.int64] | None:
        """Return the indices in what was read of the axis; None if they are all of it."""
        if self.picked is None and span == self.span:
            return None
        return np.asarray(self.indices - span.start)


@lru_cache(maxsize=2**8)  # most of what is read is whole
def _whole(size: int) -> AxisPart:
    return AxisPart(slice(0, size))


@lru_cache(maxsize=2**8)
def _single(index: int, size: int) -> AxisPart:
    at = range(size)[index]
    return AxisPart(slice(at, at + 1), np.array(at))


def index_of(what: str, value: object, values: Sequence[object]) -> int:
    """Return the index of a value, or raise an error that lists the values.

    Raises:
        TraceError: nowhere.
    """
    if value in values:
        return values.index(value)
    hint = did_you_mean(value, map(str, values)) if isinstance(value, str) else ""
    raise TraceError(f"there is no {what} {value!r}; there is {list_some(values, LISTED)}.{hint}")


def query_image(layer: Layer, block: str | None) -> Segment | None:
    """Return the segment of a block's queries if they are one image or video, else None."""
    queries = part(layer.queries, (block or "").split(".")[0])
    return queries[0] if len(queries) == 1 and queries[0].grid else None


def query_grid(layer: Layer, block: str | None) -> Plane | None:
    """Return rows and columns of a block's queries if they are one image or video, else None."""
    image = query_image(layer, block)
    return None if image is None else image.plane


def all_rows(manifest: Manifest, layer: Layer, block: str) -> tuple[Column, ...]:
    """Return every query of a block, in the order of the layer's queries.

    Text positions are those of the first kept branch's sequence, others the layer's own.
    """
    return _positions(manifest, part(layer.queries, block.partition(".")[0]))


def all_columns(manifest: Manifest, layer: Layer, block: str) -> tuple[Column, ...]:
    """Return every key of a block, in the order of the layer's keys; positions as of `all_rows`."""
    return _positions(manifest, part(layer.keys, block.rpartition(".")[2]))


def _positions(manifest: Manifest, segments: Sequence[Segment]) -> tuple[Column, ...]:
    sequence = {segment.name: segment.start for segment in manifest.segments[manifest.branches[0]]}
    columns: list[Column] = []
    for segment in segments:
        start = sequence.get(segment.name, 0) if segment.kind == "text" else segment.start
        columns += [Column(segment.name, start + offset) for offset in range(segment.length)]
    return tuple(columns)
