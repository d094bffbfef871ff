"""Reduce one layer's attention to what is kept, the moment it exists, in float32.

No tensor here is larger than `CHUNK` numbers, whatever the size of the attention matrix, except
the kept maps themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from attn.engine.attention import Attention, Index
from attn.engine.layer_plans import BlockPlan, LayerPlan
from attn.engine.shapes import ColumnMembers, Logits, PerHead, Probs, SegmentMass
from attn.schema import part, without_mass

CHUNK = 2**20
"""Largest number of probabilities that are held at once: 4 MB, which stays in the cache."""

Measures = dict[str, Tensor]


class Scratch:
    """Reused buffers, so that capture does not ask for new memory at every layer."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.device], Tensor] = {}

    def take(self, name: str, device: torch.device, *shape: int) -> Tensor:
        """Return an uninitialised float32 tensor, valid until the next call with this name."""
        size = torch.Size(shape).numel()
        buffer = self._buffers.get((name, device))
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name, device] = torch.empty(size, device=device)
        return buffer[:size].view(shape)


@dataclass
class Folded:
    """Means of one block over its query rows (`mass`, `entropy`) and over heads (`map`).

    `rows` says which queries of the block are rows in some head; None where all are. Those that
    are not count nowhere, and are NaN in maps.
    """

    mass: Tensor
    entropy: Tensor | None
    map: Tensor | None
    headmap: Tensor | None
    rows: Tensor | None


def measure(plan: LayerPlan, attention: Attention, row: int, scratch: Scratch) -> Measures:
    """Compute everything that is kept of one batch row of one layer.

    Args:
        plan: what is kept.
        attention: the layer's kernel call.
        row: which row of the batch.
        scratch: reused memory.

    Returns:
        Tensors by name (`7/mass.image.text`), shapes as in `plan.shapes()`.
    """
    index = plan.layer.index
    kept: Measures = {}
    masses: dict[str, Tensor] = {}
    for block in plan.blocks:
        folded = _fold(block, attention, row, scratch)
        masses[block.name] = folded.mass
        kept |= {f"{index}/{name}.{block.name}": value for name, value in _finish(block, folded)}
        if "entropy" in block.measures and folded.entropy is None:
            kept[f"{index}/entropy.{block.name}"] = _row_entropy(block, attention, row, scratch)
    for query in (query for query, segments in plan.totals.items() if segments):
        kept[f"{index}/total.{query}"] = _total(plan, query, masses, attention, row, scratch)
    if plan.factors:
        kept |= {f"{index}/{name}": value for name, value in _factors(attention, row)}
    return kept


def _fold(block: BlockPlan, attention: Attention, row: int, scratch: Scratch) -> Folded:
    """Pass once over the block's probabilities."""
    heads, queries, keys = attention.shape[1], len(block.queries), len(block.keys)
    zeros = partial(torch.zeros, device=attention.device)
    measures = block.measures
    wants_map = bool(measures & {"map", "share", "peak"})
    valid = _valid(attention, row, block.queries)
    folded = Folded(
        mass=zeros(heads, keys),
        entropy=zeros(heads) if "entropy" in measures and block.whole_rows else None,
        map=zeros(queries, keys) if wants_map else None,
        headmap=None,
        rows=None if valid is None else valid.any(0),
    )
    if "headmap" in measures:
        folded.headmap = torch.empty(
            heads, queries, len(block.groups), device=attention.device, dtype=torch.float16
        )
    with_logs = folded.entropy is not None
    chunks = _chunks(block.queries, block.keys, attention, row, scratch, with_logs=with_logs)
    for some, rows, logs, probs in chunks:
        folded.mass[some] += probs.sum(1)
        if folded.map is not None:
            folded.map[rows] += probs.sum(0)
        if folded.headmap is not None:
            folded.headmap[some, rows] = _columns(probs, block).half()
        if folded.entropy is not None:
            folded.entropy[some] += _entropy(probs, logs)
    count = _count(valid, queries).to(attention.device)
    folded.mass /= count
    if folded.map is not None:
        folded.map /= heads if valid is None else valid.sum(0).clamp(min=1)[:, None]
    if folded.headmap is not None and valid is not None:
        folded.headmap.masked_fill_(~valid[:, :, None], torch.nan)
    if folded.entropy is not None:
        folded.entropy /= count.squeeze(-1)
    return folded


def _finish(block: BlockPlan, folded: Folded) -> Iterator[tuple[str, Tensor]]:
    yield "mass", folded.mass
    if folded.entropy is not None:
        yield "entropy", folded.entropy
    if folded.headmap is not None:
        yield "headmap", folded.headmap
    if folded.map is None:
        return
    if "share" in block.measures:
        of_text = folded.map / folded.map.sum(1, keepdim=True).clamp(
            min=torch.finfo(torch.float32).tiny
        )
        yield "share", of_text.mean(0) if folded.rows is None else of_text[folded.rows].mean(0)
        if "share_max" in block.measures:
            yield "share_max", of_text.amax(0)
    if "peak" in block.measures:
        yield "peak", folded.map.amax(0)
    if "map" in block.measures:
        columns = _columns(folded.map, block)
        if folded.rows is not None:
            columns = columns.masked_fill(~folded.rows[:, None], torch.nan)
        yield "map", columns


def _valid(attention: Attention, row: int, queries: tuple[int, ...]) -> Tensor | None:
    """Return which of some queries are rows, (head, query); None if all are."""
    valid = attention.row_valid(row)
    if valid is None:
        return None
    return valid.expand(attention.shape[1], -1)[:, as_index(queries, attention.device)]


def _count(valid: Tensor | None, queries: int) -> Tensor:
    """Return how many rows each head has, (head or 1, 1); a mean over none of them is NaN."""
    return torch.tensor([[queries]]) if valid is None else valid.sum(1, keepdim=True)


def _chunks(
    queries: tuple[int, ...],
    keys: tuple[int, ...],
    attention: Attention,
    row: int,
    scratch: Scratch,
    *,
    with_logs: bool = False,
) -> Iterator[tuple[slice, slice, Logits | None, Probs]]:
    """Yield (heads, rows of the block, log probs or None, probs) until the block is covered.

    What is no row is 0 throughout.
    """
    valid = _valid(attention, row, queries)
    num_heads = attention.shape[1]
    heads = max(1, min(num_heads, CHUNK // (len(queries) * len(keys))))
    rows = min(len(queries), max(1, CHUNK // (heads * len(keys))))
    columns = as_index(keys, attention.device)
    has_logs = attention.has_logs
    for head in range(0, num_heads, heads):
        some = slice(head, min(head + heads, num_heads))
        for start in range(0, len(queries), rows):
            span = slice(start, min(start + rows, len(queries)))
            index = as_index(queries[span], attention.device)
            shape = (some.stop - head, span.stop - start, len(keys))
            out = scratch.take("probs", attention.device, *shape)
            if not (with_logs and has_logs):
                logs, probs = None, attention.probs(row, some, index, columns, out)
            else:
                logs = scratch.take("logs", attention.device, *shape)
                attention.log_probs(row, some, index, columns, logs)
                probs = torch.exp(logs, out=out)
            if valid is not None:
                probs = probs.masked_fill(~valid[some, span, None], 0)
            yield some, span, logs, probs


def _entropy(probs: Probs, logs: Logits | None) -> PerHead:
    """Return the sum over all rows, (head,); a logarithm costs as much as all else together."""
    if logs is None:
        logs = probs.log().clamp_(min=torch.finfo(torch.float32).min)
    products: Tensor = torch.linalg.vecdot(probs.flatten(1), logs.flatten(1))
    return -products


def as_index(positions: tuple[int, ...], device: torch.device) -> Index:
    """Return positions as a slice where they are contiguous, which copies nothing."""
    if positions[-1] - positions[0] + 1 == len(positions):
        return slice(positions[0], positions[-1] + 1)
    return torch.tensor(positions, device=device)


def _columns(probs: Tensor, block: BlockPlan) -> Tensor:
    """Add up the keys of each column of the map, along the last axis."""
    if len(block.groups) == len(block.keys):
        return probs
    return probs @ _membership(block.groups, len(block.keys), probs.device)


@lru_cache(maxsize=64)
def _membership(
    groups: tuple[tuple[int, ...], ...], keys: int, device: torch.device
) -> ColumnMembers:
    """Return (key, column): 1 where a key belongs to a column."""
    member = torch.zeros(keys, len(groups))
    for column, group in enumerate(groups):
        member[list(group), column] = 1
    return member.to(device)


def _row_entropy(block: BlockPlan, attention: Attention, row: int, scratch: Scratch) -> PerHead:
    """Return the entropy of the block's rows over all keys, (head,), nats, mean over rows."""
    entropy = torch.zeros(attention.shape[1], device=attention.device)
    keys = tuple(range(attention.shape[3]))
    chunks = _chunks(block.queries, keys, attention, row, scratch, with_logs=True)
    for some, _, logs, probs in chunks:
        entropy[some] += _entropy(probs, logs)
    valid = _valid(attention, row, block.queries)
    return entropy / _count(valid, len(block.queries)).to(entropy.device).squeeze(-1)


def _total(
    plan: LayerPlan,
    query: str,
    masses: dict[str, Tensor],
    attention: Attention,
    row: int,
    scratch: Scratch,
) -> SegmentMass:
    """Return (head, key segment): how the rows of a query part share out their probability.

    The segments are those of `plan.totals`. What one segment gets is 1 minus the others where no
    key is hidden, so nothing need be computed for it.
    """
    by_segment: dict[str, Tensor] = {}
    for block in plan.blocks:
        rows, key = block.name.split(".")
        if rows != query:
            continue
        offset = 0
        for segment in part(plan.layer.keys, key):
            by_segment[segment.name] = masses[block.name][:, offset : offset + segment.length].sum(
                1
            )
            offset += segment.length
    missing = list(without_mass(plan.layer, query, masses))
    hides = attention.mask is not None or attention.open_probs is not None
    if len(missing) == 1 and not hides and attention.valid is None:
        by_segment[missing[0].name] = 1 - torch.stack(list(by_segment.values())).sum(0)
        missing = []
    queries = next(block.queries for block in plan.blocks if block.name.split(".")[0] == query)
    count = _count(_valid(attention, row, queries), len(queries)).to(attention.device)
    for segment in missing:
        mass = torch.zeros(attention.shape[1], device=attention.device)
        keys = tuple(range(segment.start, segment.stop))
        for some, _, _, probs in _chunks(queries, keys, attention, row, scratch):
            mass[some] += probs.sum((1, 2))
        by_segment[segment.name] = mass / count.squeeze(-1)
    return torch.stack([by_segment[segment.name] for segment in plan.totals[query]], 1)


def _factors(attention: Attention, row: int) -> Iterator[tuple[str, Tensor]]:
    query, key, lse = attention.factors()
    yield "query", query[row]
    yield "key", key[row]
    valid = attention.row_valid(row)
    yield "lse", lse[row] if valid is None else lse[row].masked_fill(~valid, torch.nan)
    yield "scale", torch.tensor(attention.scale)
    mask = attention.row_mask(row)
    if attention.causal:
        hidden = torch.full(attention.shape[2:], -torch.inf, device=attention.device).triu(1)[None]
        mask = hidden if mask is None else mask + hidden
    if mask is not None:
        yield "mask", mask
