"""What is kept of one layer and of its blocks, in a step that reads all of a text or a span."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from attn.schema import (
    CONCEPT_MEASURES,
    GATE_STATISTICS,
    Layer,
    Segment,
    part,
    query_parts,
    without_mass,
)

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Tensor name to (shape, safetensors dtype)."""

Span = tuple[int, int]
"""Positions `[start, stop)` of a text that one forward reads; see `schema.Step.span`."""


@dataclass(frozen=True)
class BlockPlan:
    """One block of one layer.

    `queries` and `keys` are positions in the module's own sequences. `groups` are the map's
    columns as places among `keys`: one place for a token, many for a column of the rest.
    `measures` are those of `schema.MEASURES` that this block gets.
    """

    name: str
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    measures: frozenset[str]
    whole_rows: bool

    def within(self, span: Span, reach: int) -> BlockPlan | None:
        """Return the block in a step that reads a span of the text; None if it has no part of it.

        The queries are counted from the span's first; every key is a column, up to `reach`.
        """
        start, stop = span
        queries = tuple(place - start for place in self.queries if start <= place < stop)
        keys = tuple(place for place in self.keys if place < reach)
        if not queries or not keys:
            return None
        return replace(self, queries=queries, keys=keys, groups=self.groups[: len(keys)])


Pass = tuple[tuple[BlockPlan, slice], ...]
"""Blocks whose probabilities are computed at once, all with the same keys: the first has all the
queries, the others some in a row, with their places among those."""


@dataclass(frozen=True)
class TotalPlan:
    """How a query part's `total` is made.

    Attributes:
        queries: positions of its rows.
        sums: by key segment, a block that has a mass, and the places of the segment among its keys.
        missing: key segments of which there is none.
    """

    queries: tuple[int, ...]
    sums: Mapping[str, tuple[str, slice]]
    missing: tuple[Segment, ...]


@dataclass(frozen=True)
class ConceptPlan:
    """The maps of concepts of one layer.

    Attributes:
        lengths: how many positions the states of each concept have.
        path: of the module that is run again with concepts in place of the text: the layer itself,
            which then reads the same states at every step, or the block that it is in, which hands
            the states on to the next block.
        is_stream: whether it is such a block.
        before: paths of blocks of which nothing is kept, through which concepts go to it.
        keeps_keys: whether their keys are kept; in a stream they depend on the other concepts.
    """

    lengths: tuple[int, ...]
    path: str
    is_stream: bool
    before: tuple[str, ...] = ()
    keeps_keys: bool = False

    @property
    def measures(self) -> tuple[str, ...]:
        """Which of `schema.CONCEPT_MEASURES` there are: output vectors of queries only."""
        return CONCEPT_MEASURES if self.is_stream else CONCEPT_MEASURES[:1]


@dataclass(frozen=True)
class LayerPlan:
    """Everything that is kept of one layer; without blocks, that is what its gates do.

    `totals` are the key segments whose `total` is kept, by query part; at level `mass` those
    without a kept mass, because the others are sums of it.
    """

    layer: Layer
    blocks: tuple[BlockPlan, ...]
    factors: bool
    totals: Mapping[str, tuple[Segment, ...]]
    concepts: ConceptPlan | None = None

    @cached_property  # asked for at every kernel call, like what follows
    def passes(self) -> tuple[Pass, ...]:
        """The blocks, so that no probability of a text is computed for several of them."""
        passes: list[list[tuple[BlockPlan, slice]]] = []
        for block in sorted(self.blocks, key=lambda block: -len(block.queries)):
            for wider in passes:
                rows = _rows_among(block, wider[0][0])
                if rows is not None:
                    wider.append((block, rows))
                    break
            else:
                passes.append([(block, slice(0, len(block.queries)))])
        return tuple(map(tuple, passes))

    @cached_property
    def form(self) -> Hashable:
        """What layers that are measured alike have in common: all but which layer it is."""
        layer, totals = self.layer, tuple(self.totals.items())
        return layer.num_heads, layer.queries, layer.keys, self.blocks, totals

    @cached_property
    def total_plans(self) -> Mapping[str, TotalPlan]:
        """How each total is made, by query part; one without segments is not there."""
        return {query: self._total_plan(query) for query, kept in self.totals.items() if kept}

    def _total_plan(self, query: str) -> TotalPlan:
        blocks = [block for block in self.blocks if block.name.split(".")[0] == query]
        sums: dict[str, tuple[str, slice]] = {}
        for block in blocks:
            offset = 0
            for segment in part(self.layer.keys, block.name.split(".")[1]):
                sums[segment.name] = block.name, slice(offset, offset + segment.length)
                offset += segment.length
        missing = without_mass(self.layer, query, [block.name for block in blocks])
        return TotalPlan(blocks[0].queries, sums, missing)

    def within(self, span: Span) -> LayerPlan:
        """Return the layer in a step that reads a span of the text, its keys all before its end."""
        layer, reach = layer_within(self.layer, span), _reach(self.layer, span)
        blocks = tuple(part for block in self.blocks if (part := block.within(span, reach)))
        queries = query_parts(block.name for block in blocks)
        totals = {
            query: clip(segments, (0, reach))
            for query, segments in self.totals.items()
            if query in queries
        }
        return replace(self, layer=layer, blocks=blocks, totals=totals)

    def shapes_within(self, span: Span) -> Shapes:
        """Return the tensors of such a step; totals are of all segments, read yet or not."""
        whole = self.shapes()
        return {
            name: whole[name] if "/total." in name else entry
            for name, entry in self.within(span).shapes().items()
        }

    def shapes(self) -> Shapes:
        """Return the tensors of one step, without the axes branch and sample."""
        index, heads = self.layer.index, self.layer.num_heads
        shapes: Shapes = {}
        for block in self.blocks:
            queries, keys, columns = len(block.queries), len(block.keys), len(block.groups)
            of: Shapes = {
                "mass": ((heads, keys), "F32"),
                "share": ((keys,), "F32"),
                "share_max": ((keys,), "F32"),
                "peak": ((keys,), "F32"),
                "entropy": ((heads,), "F32"),
                "map": ((queries, columns), "F16"),
                "headmap": ((heads, queries, columns), "F16"),
            }
            names = (name for name in of if name in block.measures)
            shapes.update({f"{index}/{name}.{block.name}": of[name] for name in names})
        for query, segments in self.totals.items():
            shapes[f"{index}/total.{query}"] = ((heads, len(segments)), "F32")
        for gate in self.layer.gates:
            shapes[f"{index}/gate.{gate.part}"] = ((heads, len(GATE_STATISTICS)), "F32")
        if self.concepts is not None:
            image = sum(of.length for of in self.layer.queries if of.kind == "image")
            for name in self.concepts.measures:
                shapes[f"{index}/{name}.image"] = ((image, len(self.concepts.lengths)), "F16")
        return shapes


def _rows_among(block: BlockPlan, wider: BlockPlan) -> slice | None:
    """Return the places of a block's queries among those of another with the same keys, if any."""
    if block.keys != wider.keys or block.queries[0] not in wider.queries:
        return None
    first = wider.queries.index(block.queries[0])
    rows = slice(first, first + len(block.queries))
    return rows if wider.queries[rows] == block.queries else None


def layer_within(layer: Layer, span: Span | None) -> Layer:
    """Return a layer as a step that reads a span of the text has it; None is all of it."""
    if span is None:
        return layer
    keys = clip(layer.keys, (0, _reach(layer, span)))
    return replace(layer, queries=clip(layer.queries, span), keys=keys)


def _reach(layer: Layer, span: Span) -> int:
    """Return how many keys a layer has in a step: a learned sink, then all before its end."""
    return layer.num_sinks + span[1]


def clip(segments: Sequence[Segment], span: Span) -> tuple[Segment, ...]:
    """Return what lies in a span, counted from its first position."""
    start, stop = span
    return tuple(
        replace(part, start=max(part.start, start) - start, stop=min(part.stop, stop) - start)
        for part in segments
        if part.start < stop and part.stop > start
    )
