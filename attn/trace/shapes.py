"""What shape every tensor of a trace has, as its manifest says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from attn.schema import (
    CONCEPT_MEASURES,
    GATE_STATISTICS,
    STEP_MEASURES,
    Layer,
    Manifest,
    Segment,
    Shard,
    part,
    without_mass,
)

_LAYER = re.compile(r"\d{1,9}")
"""The index of a layer, before the name of a measure."""

Window = tuple[int, int]
"""First place and end of what a step has of an axis."""

Shape = tuple[int | None, ...]
"""Sizes of axes; None is any size."""

FLOATS = ("F16", "BF16", "F32", "F64")
"""Dtypes of what is measured of a layer, by their names in a shard."""


class Shapes:
    """The shapes that the tensors of one trace can have.

    Nothing is laid out position by position here, so that sizes that are lies cost nothing.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._lead = (len(manifest.branches), manifest.samples)
        self._layers = {layer.index: layer for layer in manifest.layers}
        self._concepts = len(manifest.request.concepts)
        self._columns = Counter(column.segment for column in manifest.kept.columns)
        segments = manifest.segments[manifest.branches[0]]
        self._positions = max((segment.stop for segment in segments), default=0)
        self._spans = spans_of(manifest)
        self._fitting: set[tuple[str, tuple[int, ...], str, Window | None]] = set()

    def misfit(
        self, name: str, shape: tuple[int, ...], dtype: str, span: Window | None = None
    ) -> str | None:
        """Describe what is wrong with a tensor; None if nothing is, or nothing is expected.

        Args:
            name: of the tensor.
            shape: of the tensor.
            dtype: its name in a shard.
            span: of the sequence that its step read; None is all of it.
        """
        if (name, shape, dtype, span) in self._fitting:  # in an earlier step
            return None
        expected = self._expected(name, span)
        if not expected:
            return None
        if not any(_agree(shape, candidate) for candidate in expected):
            what = " or ".join(map(_shown, expected))
            return f"{name} has shape {_shown(shape)}, expected {what}"
        of_step = STEP_MEASURES.get(name.removeprefix("step/"))
        dtypes = FLOATS if of_step is None else (of_step,)
        if dtype not in dtypes:
            return f"{name} has dtype {dtype}, expected {' or '.join(dtypes)}"
        self._fitting.add((name, shape, dtype, span))
        return None

    def _expected(self, name: str, span: Window | None) -> tuple[Shape, ...]:
        """Return the shapes that a tensor can have; none if it is no such tensor."""
        owner, _, tensor = name.partition("/")
        if owner == "step":
            return ((*self._lead, self._positions),) if tensor in STEP_MEASURES else ()
        layer = self._layers.get(int(owner)) if _LAYER.fullmatch(owner) else None
        if layer is None:
            return ()
        measure, _, block = tensor.partition(".")
        query, _, key = block.partition(".")
        inner: tuple[Shape, ...]
        if not block:
            rows = self._length(layer.queries, span)
            keys = self._length(layer.keys, span and (0, span[1]))
            inner = _factors(layer, rows, keys, self._concepts).get(measure, ())
        elif not key:
            inner = self._of_queries(layer, measure, query)
        else:
            inner = self._of_block(layer, measure, (query, key), span)
        return tuple((*self._lead, *shape) for shape in inner)

    def _of_queries(self, layer: Layer, measure: str, query: str) -> tuple[Shape, ...]:
        """Return the shapes of what is told of a query part; masses may be left out that add up."""
        if measure == "gate":
            is_there = any(gate.part == query for gate in layer.gates)
            return ((layer.num_heads, len(GATE_STATISTICS)),) if is_there else ()
        rows = part(layer.queries, query)
        if measure in CONCEPT_MEASURES and rows:
            return ((self._length(rows, None), self._concepts),)
        if measure != "total" or not rows:
            return ()
        counts = {len(layer.keys), len(without_mass(layer, query, layer.blocks))}
        return tuple((layer.num_heads, count) for count in sorted(counts, reverse=True))

    def _of_block(
        self, layer: Layer, measure: str, block: tuple[str, str], span: Window | None
    ) -> tuple[Shape, ...]:
        rows, keys = part(layer.queries, block[0]), part(layer.keys, block[1])
        if not rows or not keys:
            return ()
        heads, columns = layer.num_heads, sum(map(self._width, keys))
        queries, length = self._length(rows, span), self._length(keys, span and (0, span[1]))
        if span is not None:  # a growing text keeps every key
            columns = length
        shapes: dict[str, Shape] = {
            "mass": (heads, length),
            "share": (length,),
            "share_max": (length,),
            "peak": (length,),
            "entropy": (heads,),
            "map": (queries, columns),
            "headmap": (heads, queries, columns),
            "value_norm": (heads, length),
        }
        return (shapes[measure],) if measure in shapes else ()

    def _length(self, segments: Sequence[Segment], span: Window | None) -> int:
        start, stop = find_window(segments, self._spans, span)
        return stop - start

    def _width(self, segment: Segment) -> int:
        """Return how many columns a map has of a segment."""
        return self._columns[segment.name] if segment.kind == "text" else segment.length


def _factors(layer: Layer, queries: int, keys: int, concepts: int) -> dict[str, tuple[Shape, ...]]:
    heads = layer.num_heads
    masks = ((a, b, c) for a in {1, heads} for b in {1, queries} for c in {1, keys})
    return {
        "query": ((heads, queries, layer.head_dim),),
        "key": ((layer.num_key_heads, keys, layer.head_dim),),
        "lse": ((heads, queries),),
        "scale": ((),),
        "mask": tuple(masks),
        "concept_key": ((heads, concepts, None, layer.head_dim),) if concepts else (),
    }


def _agree(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, got) for got, size in zip(shape, expected, strict=True)
    )


def _shown(shape: Shape) -> str:
    return "x".join("any" if size is None else str(size) for size in shape) or "of a single number"


def is_of_growing(shards: Iterable[Shard]) -> bool:
    """Whether steps read different spans of a text."""
    return any(shard.step is not None and shard.step.span is not None for shard in shards)


def spans_of(manifest: Manifest) -> dict[str, Window]:
    """Return where the segments of the sequence are in it, by name."""
    segments = manifest.segments[manifest.branches[0]]
    return {segment.name: (segment.start, segment.stop) for segment in segments}


def find_window(
    segments: Sequence[Segment], places: Mapping[str, Window], span: Window | None
) -> Window:
    """Return which positions of segments put one after the other lie in a span of the sequence.

    Args:
        segments: of a layer.
        places: where segments of the sequence are in it; others do not grow.
        span: of the sequence; None is all of it.
    """
    offset, edges = 0, []
    for segment in segments:
        start, stop = 0, segment.length
        if span is not None and segment.name in places:
            begin = places[segment.name][0]
            start, stop = max(start, span[0] - begin), min(stop, span[1] - begin)
        if start < stop:
            edges += [offset + start, offset + stop]
        offset += segment.length
    return (min(edges), max(edges)) if edges else (0, 0)


def step_windows(layer: Layer, manifest: Manifest, span: Window) -> tuple[Window, Window]:
    """Return which queries and keys of a layer a step of some span has."""
    places = spans_of(manifest)
    return find_window(layer.queries, places, span), find_window(layer.keys, places, (0, span[1]))
