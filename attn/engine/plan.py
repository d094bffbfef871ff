"""What a capture keeps: which layers and blocks, which tensors, and how many bytes that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from attn.choices import Masses
from attn.engine.layer_plans import BlockPlan, LayerPlan, Shapes, Span
from attn.errors import RequestError, did_you_mean
from attn.schema import (
    CONCEPT_MEASURES,
    STEP_MEASURES,
    Column,
    Kept,
    Keys,
    Layer,
    Level,
    Segment,
    block_columns,
    block_names,
    layer_matches,
    part,
    positions,
    query_parts,
    without_mass,
)
from attn.schema import Sequence as TokenSequence
from attn.trace.writer import predict_bytes

WHOLE = "all.all"
DEFAULT_BLOCKS = ("image.text", WHOLE)
"""The first of these that the model has is kept when none is asked for; the last of texts."""

_OF_CONCEPTS = tuple(f"/{name}." for name in CONCEPT_MEASURES)
"""What stands in the names of the maps of concepts."""

SMALL = "image.text"
"""The block whose `mass` and `share` are always kept where it exists.

Above the level `mass`, whose analyses read them of no trace, `share_max` and `peak` are too.
"""


@dataclass(frozen=True)
class Keep:
    """What the user asks to be kept.

    Attributes:
        level: how much detail (`mass` < `means` < `maps` < `heads` < `factors`).
        keys: `content` keeps a map column for every token of the prompt and one for the rest; of a
            model that writes text every key is kept, because each is a query too.
        mass: `full` adds image keys and text rows to the masses.
        blocks: blocks to keep; None is the family's default.
        layers: index ranges (`0-11`) and path globs; empty is every layer that has a kept block.
        branches: guidance rows to keep.
        entropy: also where the rows of a kept block are not computed in full anyway.
        forming: how each picture formed, too, a small picture of each step.
    """

    level: Level = "maps"
    keys: Keys = "content"
    mass: Masses = "text"
    blocks: tuple[str, ...] | None = None
    layers: tuple[str, ...] = ()
    branches: tuple[str, ...] = ("cond",)
    entropy: bool = False
    forming: bool = True


@dataclass(frozen=True)
class Plan:
    """What is kept of one trace: `samples` pictures over `steps` steps.

    `positions` is the length of the sequence where the model writes a part of it in place, else 0.
    `spans` are the positions that each step reads, where the text grows; see `schema.Step.span`.
    `forming` is whether it is kept how the pictures formed.
    """

    layers: tuple[LayerPlan, ...]
    kept: Kept
    branches: tuple[str, ...]
    samples: int
    steps: int
    dtype: str
    positions: int = 0
    spans: tuple[Span, ...] = ()
    forming: bool = True

    def step_shapes(self, span: Span | None = None) -> Shapes:
        """Return every tensor of one step's shard, shapes in full; of a step that reads a span."""
        lead = (len(self.branches), self.samples)
        written = STEP_MEASURES if self.positions else {}
        shapes: Shapes = {
            f"step/{name}": ((*lead, self.positions), dtype) for name, dtype in written.items()
        }
        for layer in self.layers:
            shapes |= {
                name: (lead + shape, dtype)
                for name, (shape, dtype) in _shapes_of(layer, span).items()
            }
            if layer.factors:
                shapes |= self._factor_shapes(layer.within(span) if span else layer)
        return {name: entry for name, entry in shapes.items() if not self.is_mean(name)}

    def mean_shapes(self, span: Span | None = None) -> Shapes:
        """Return every tensor of the file of means over steps; empty where there is none."""
        lead = (len(self.branches), self.samples)
        return {
            mean: (lead + shape[-2:], "F32")
            for layer in self.layers
            for name, (shape, _) in _shapes_of(layer, span).items()
            if (mean := self.mean_of(name))
        }

    def mean_of(self, name: str) -> str | None:
        """Return what the mean over steps of a step's tensor is called; None where none is kept.

        Of maps that are kept step by step it is kept too, so that a first look reads no more than
        that. The steps of a growing text have other rows each, which are their own mean.
        """
        level = self.kept.level
        kinds = ("/headmap." if level == "heads" else "/map.", *_OF_CONCEPTS)
        is_kept = level == "means" or (level in ("maps", "heads") and not self.spans)
        is_map = any(kind in name for kind in kinds)
        return name.replace("/headmap.", "/map.") if is_kept and is_map else None

    def is_mean(self, name: str) -> bool:
        """Whether a tensor is averaged over steps instead of being kept per step."""
        is_map = any(kind in name for kind in ("/map.", *_OF_CONCEPTS))
        return self.kept.level == "means" and is_map

    @cached_property  # asked for at every step, and of many traces that have the same plan
    def bytes(self) -> int:
        """Size of the folder `attention/`, headers included, the index of shards left out."""
        means = self.mean_shapes()
        steps = (
            sum(predict_bytes(self.step_shapes(span)) for span in self.spans)
            if self.spans
            else self.steps * predict_bytes(self.step_shapes())
        )
        return steps + (predict_bytes(means) if means else 0)

    @property
    def full_bytes(self) -> int:
        """Size of every probability of the kept layers in float16, to weigh `factors` against."""
        layers = [entry.layer for entry in self.layers]
        heads = sum(layer.num_heads for layer in layers)
        numbers = heads * sum((stop - start) * stop for start, stop in self.spans)
        if not self.spans:
            each = (layer.num_heads * layer.num_queries * layer.num_keys for layer in layers)
            numbers = sum(each) * self.steps
        return 2 * numbers * self.samples * len(self.branches)

    def _factor_shapes(self, plan: LayerPlan) -> Shapes:
        layer = plan.layer
        if layer.head_dim is None:
            raise RequestError(
                f"--keep factors: the backend does not say the head size of {layer.path}"
            )
        lead = (len(self.branches), self.samples)
        key_heads = layer.num_key_heads or layer.num_heads
        shapes: Shapes = {
            f"{layer.index}/query": (
                (*lead, layer.num_heads, layer.num_queries, layer.head_dim),
                self.dtype,
            ),
            f"{layer.index}/key": ((*lead, key_heads, layer.num_keys, layer.head_dim), self.dtype),
            f"{layer.index}/lse": ((*lead, layer.num_heads, layer.num_queries), "F32"),
            f"{layer.index}/scale": (lead, "F32"),
        }
        if plan.concepts is not None and plan.concepts.keeps_keys:
            lengths = plan.concepts.lengths
            shape = (layer.num_heads, len(lengths), max(lengths), layer.head_dim)
            shapes[f"{layer.index}/concept_key"] = ((*lead, *shape), self.dtype)
        return shapes


def make_plan(
    layers: Sequence[Layer],
    sequences: Mapping[str, TokenSequence],
    keep: Keep,
    *,
    samples: int,
    steps: int,
    dtype: str,
    spans: Sequence[Span] = (),
) -> Plan:
    """Decide what is kept of one generation.

    Args:
        layers: every layer of the model, in execution order.
        sequences: the tokens of every branch that runs.
        keep: what was asked.
        samples: pictures of the trace.
        steps: steps of the sampler.
        dtype: safetensors name of the model's dtype, for `factors`.
        spans: positions that each step reads, where the text grows.

    Raises:
        RequestError: a layer pattern, block or branch matches nothing.
    """
    for branch in keep.branches:
        if branch not in sequences:
            off = " (guidance is off): turn it on with --guidance or" * (branch == "uncond")
            raise RequestError(
                f"branch '{branch}' does not run in this generation; it has "
                f"{', '.join(sequences)}{off or ':'} ask for --branch {next(iter(sequences))}"
            )
    written = [segment for segment in sequences[keep.branches[0]].segments if segment.is_generated]
    is_text = bool(part(written, "text"))
    blocks = _choose_blocks(layers, keep.blocks or ((WHOLE,) if is_text else None))
    having = [layer for layer in layers if layer.gates or set(blocks) & set(block_names(layer))]
    selected = _choose_layers(layers, having, keep.layers, blocks)
    keys: Keys = "all" if is_text else keep.keys
    columns = _columns([sequences[branch] for branch in keep.branches], keys)
    plans = tuple(
        plan_layer(layer, blocks, columns, keep, sequences[keep.branches[0]]) for layer in selected
    )
    kept = Kept(
        level=keep.level,
        keys=keys,
        mass=keep.mass,
        entropy=keep.entropy,
        blocks=blocks,
        layers=tuple(plan.layer.index for plan in plans if plan.blocks),
        columns=columns,
    )
    length = max((segment.stop for segment in sequences[keep.branches[0]].segments), default=0)
    positions = length if written and not spans else 0
    return Plan(
        *(plans, kept, keep.branches, samples, steps, dtype, positions, tuple(spans)),
        forming=keep.forming,
    )


def _shapes_of(layer: LayerPlan, span: Span | None) -> Shapes:
    return layer.shapes() if span is None else layer.shapes_within(span)


def _choose_blocks(layers: Sequence[Layer], requested: Sequence[str] | None) -> tuple[str, ...]:
    exist = list(dict.fromkeys(name for layer in layers for name in block_names(layer)))
    if requested is None:
        default = next((name for name in DEFAULT_BLOCKS if name in exist), None)
        if default is None:
            raise RequestError(f"this model has none of the blocks {', '.join(DEFAULT_BLOCKS)}")
        return (default,)
    for name in requested:
        if name not in exist:
            raise RequestError(
                f"no layer has a block '{name}'; there are {', '.join(exist)}."
                + did_you_mean(name, exist)
            )
    return tuple(dict.fromkeys(requested))


def _choose_layers(
    layers: Sequence[Layer], having: Sequence[Layer], patterns: Sequence[str], blocks: Sequence[str]
) -> list[Layer]:
    if not patterns:
        return list(having)
    selected: set[tuple[str, str]] = set()
    for pattern in (piece.strip() for text in patterns for piece in text.split(",")):
        matches = [layer for layer in layers if layer_matches(layer, pattern)]
        if not matches:
            raise RequestError(
                f"no layer matches '{pattern}'; there are {len(layers)} layers "
                f"(0-{len(layers) - 1}), from {layers[0].path} to {layers[-1].path}; "
                "give indices (0-11), or a glob of the path"
            )
        keep = [layer for layer in matches if layer in having]
        if not keep:
            raise RequestError(
                f"the {len(matches)} layers that match '{pattern}' have no block "
                f"{' or '.join(blocks)}; they have {', '.join(block_names(matches[0]))}: "
                "add --blocks"
            )
        selected |= {(layer.tower, layer.path) for layer in keep}
    return [layer for layer in having if (layer.tower, layer.path) in selected]


def _columns(sequences: Sequence[TokenSequence], keys: Keys) -> tuple[Column, ...]:
    """Choose the text columns of maps: what is content in any kept branch, then the rest."""
    selected: list[Column] = []
    for segment in part(sequences[0].segments, "text"):
        content = {
            token.position
            for sequence in sequences
            for token in sequence.tokens
            if token.segment == segment.name and (keys == "all" or token.is_content)
        }
        selected += [Column(segment.name, position) for position in sorted(content)]
        if len(content) < segment.length:
            selected.append(Column(segment.name, None))
    return tuple(selected)


def plan_layer(
    layer: Layer,
    blocks: Sequence[str],
    columns: Sequence[Column],
    keep: Keep,
    sequence: TokenSequence,
) -> LayerPlan:
    """Decide what is kept of a layer; of `sequence` only the segments count."""
    exist = block_names(layer)
    mapped = [name for name in blocks if name in exist]
    if not mapped:  # it is here for its gates
        return LayerPlan(replace(layer, blocks=()), (), factors=False, totals={})
    small = [name for name in _always_kept(layer) if name in exist]
    full = [name for name in ("image.image", "text.text", "text.image") if name in exist]
    names = dict.fromkeys([*mapped, *small, *(full if keep.mass == "full" else ())])
    plans = tuple(
        _plan_block(layer, name, name in mapped, columns, keep, sequence) for name in names
    )
    totals = dict.fromkeys(query_parts(names), layer.keys)
    if keep.level == "mass":
        bare = {query: without_mass(layer, query, names) for query in totals}
        totals = {query: segments for query, segments in bare.items() if segments}
    return LayerPlan(replace(layer, blocks=tuple(names)), plans, keep.level == "factors", totals)


def _always_kept(layer: Layer) -> tuple[str, ...]:
    """Return the blocks whose small measures are kept of a layer whatever is asked.

    Where the model writes text, those tell what each segment's rows read, head by head.
    """
    written = any(segment.is_generated for segment in part(layer.queries, "text"))
    return (SMALL, *(f"{segment.name}.all" for segment in layer.queries if written))


def _plan_block(
    layer: Layer,
    name: str,
    mapped: bool,
    columns: Sequence[Column],
    keep: Keep,
    sequence: TokenSequence,
) -> BlockPlan:
    query, key = name.split(".")
    keys = part(layer.keys, key)
    whole = sum(segment.length for segment in keys) == sum(segment.length for segment in layer.keys)
    measures = {"mass"}
    if name == SMALL:
        measures |= {"share"} if keep.level == "mass" else {"share", "share_max", "peak"}
    if whole or keep.entropy:
        measures.add("entropy")
    if mapped and keep.level in ("means", "maps", "factors"):
        measures.add("map")
    if mapped and keep.level == "heads":
        measures.add("headmap")
    return BlockPlan(
        name=name,
        queries=_places(tuple(part(layer.queries, query))),
        keys=_places(tuple(keys)),
        groups=_groups(keys, block_columns(layer, name, columns), sequence),
        measures=frozenset(measures),
        whole_rows=whole,
    )


@lru_cache(maxsize=8)
def _places(segments: tuple[Segment, ...]) -> tuple[int, ...]:
    """Return the positions of segments; layers that read the same share millions of them."""
    return tuple(positions(segments))


def _groups(
    keys: Sequence[Segment], columns: Iterable[Column], sequence: TokenSequence
) -> tuple[tuple[int, ...], ...]:
    """Turn columns into places among the block's keys."""
    start: dict[str, int] = {}
    offset = 0
    for segment in keys:
        origin = sequence.segment(segment.name).start if segment.kind == "text" else segment.start
        start[segment.name] = offset - origin
        offset += segment.length
    listed = list(columns)
    single = {
        start[column.segment] + column.position for column in listed if column.position is not None
    }
    groups: list[tuple[int, ...]] = []
    offset = 0
    spans: dict[str, range] = {}
    for segment in keys:
        spans[segment.name] = range(offset, offset + segment.length)
        offset += segment.length
    for column in listed:
        if column.position is None:
            groups.append(
                tuple(position for position in spans[column.segment] if position not in single)
            )
        else:
            groups.append((start[column.segment] + column.position,))
    return tuple(groups)
