"""What every key of a layer receives, over the rows of the picture or over all rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from attn.analysis.numbers import Numbers
from attn.schema import Column, Layer, part

if TYPE_CHECKING:
    from attn.trace.measures.views import MeasureView
    from attn.trace.trace import Trace

Rows = Literal["image", "all"]


@dataclass(frozen=True)
class Incoming:
    """The masses of a layer's keys.

    Attributes:
        layer: which.
        rows: the queries that they are means over.
        mass: (branch, sample, step, head, key), probability; NaN where the layer did not run.
        total: (branch, sample, step, head), what all keys of the row receive: 1 but for rows that
            see no key. The keys in `mass` may be a part of them.
        num_keys: of the whole row.
        columns: what the keys of `mass` are.
        padding: as `total`, what each segment receives that only fills the sequence up.
    """

    layer: Layer
    rows: Rows
    mass: Numbers
    total: Numbers
    num_keys: int
    columns: tuple[Column, ...]
    padding: Mapping[str, Numbers]

    @property
    def ratio(self) -> Numbers:
        """Mass in units of what a key gets where all get the same; 0 to `num_keys`."""
        return self.mass * self.num_keys

    @property
    def others(self) -> Numbers:
        """The mean `ratio` of the other keys of the row, those without a mass included."""
        if self.num_keys == 1:
            return np.zeros_like(self.mass)
        rest = self.total[..., np.newaxis] - self.mass
        return rest * self.num_keys / (self.num_keys - 1)


def read_incoming(trace: Trace, layer: Layer, steps: Sequence[int]) -> Iterator[Incoming]:
    """Yield what was kept of a layer: over the picture's rows, and over all rows where it can be.

    Both kinds of rows are known where the capture kept the masses of text rows (`--mass full`).
    """
    has_both = bool(part(layer.queries, "text")) and bool(part(layer.queries, "image"))
    for rows in ("image", "all") if has_both else ("image",):
        incoming = _read(trace, layer, rows, steps)
        if incoming is not None:
            yield incoming


def _read(trace: Trace, layer: Layer, rows: Rows, steps: Sequence[int]) -> Incoming | None:
    queries = ("image",) if rows == "image" else ("image", "text")
    keys = [kind for kind in ("text", "image") if _has_all(layer, queries, kind)]
    is_whole = set(keys) == {segment.kind for segment in layer.keys}
    if not keys or (rows == "all" and not is_whole):
        return None
    sizes = {query: _length(layer, query) for query in queries}
    masses: list[Numbers] = []
    columns: list[Column] = []
    for kind in keys:
        views = {query: trace.pieces("mass", layer.index, f"{query}.{kind}") for query in queries}
        masses.append(_weigh({query: _values(view, steps) for query, view in views.items()}, sizes))
        columns += views["image"].columns
    received = {
        query: _values(trace.pieces("total", layer.index, query), steps) for query in queries
    }
    totals = {query: values.sum(-1) for query, values in received.items()}
    return Incoming(
        layer=layer,
        rows=rows,
        mass=np.concatenate(masses, axis=-1),
        total=_weigh(totals, sizes),
        num_keys=sum(segment.length for segment in layer.keys),
        columns=tuple(columns),
        padding={
            segment.name: _weigh({query: of[..., at] for query, of in received.items()}, sizes)
            for at, segment in enumerate(layer.keys)
            if segment.kind == "padding"
        },
    )


def _has_all(layer: Layer, queries: Sequence[str], kind: str) -> bool:
    return bool(part(layer.keys, kind)) and all(
        f"{query}.{kind}" in layer.blocks for query in queries
    )


def _length(layer: Layer, query: str) -> int:
    return sum(segment.length for segment in part(layer.queries, query))


def _values(view: MeasureView, steps: Sequence[int]) -> Numbers:
    return view.values(steps).astype(np.float64)


def _weigh(values: dict[str, Numbers], sizes: dict[str, int]) -> Numbers:
    """Return the mean over query parts, each counting as many times as it has rows."""
    total = sum(sizes.values())
    return np.asarray(sum(value * sizes[query] for query, value in values.items()) / total)
