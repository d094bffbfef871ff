"""Reduce attention to what is kept, the moment it exists, in float32.

No tensor here is larger than `CHUNK` numbers, whatever the size of the attention matrix, except
the kept maps themselves. Layers that are laid out alike are reduced at once where they are small,
their heads behind each other: see `batching`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from attn.engine.attention import LEAST, Attention, Index
from attn.engine.heads import without_copies
from attn.engine.layer_plans import BlockPlan, LayerPlan, Pass, TotalPlan
from attn.engine.shapes import ColumnMembers, Logits, PerHead, PerQuery, Probs

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
            buffer = self._buffers[name, device] = empty(device, size)
        return buffer[:size].view(shape)


def empty(device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return memory that can be written to later, also when the model runs in inference mode."""
    with torch.inference_mode(mode=False):
        return torch.empty(shape, dtype=dtype, device=device)


@dataclass
class Folded:
    """Means of one block over its query rows (`mass`, `entropy`) and over heads (`map`), by layer.

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
    kept = {name: value[0] for name, value in reduce(plan, attention, row, scratch)}
    if plan.factors:
        kept |= dict(_factors(without_copies(attention, plan.layer), row))
    return {f"{index}/{name}": value for name, value in kept.items()}


def reduce(
    plan: LayerPlan, attention: Attention, row: int, scratch: Scratch, layers: int = 1
) -> Iterator[tuple[str, Tensor]]:
    """Yield what is kept of one batch row of layers that are laid out alike, but for factors.

    Args:
        plan: of any of them.
        attention: of all of them, the heads of each behind those of the layer before.
        row: which row of the batch.
        scratch: reused memory.
        layers: how many. All their probabilities are `CHUNK` at most, or it is one layer.

    Yields:
        Names without the layer (`mass.image.text`), and (layer, …) with shapes of `plan.shapes()`.
    """
    masses: dict[str, Tensor] = {}
    for blocks in plan.passes:
        for block, folded in _fold(blocks, attention, row, scratch, layers):
            masses[block.name] = folded.mass
            for name, value in _finish(block, folded):
                yield f"{name}.{block.name}", value
            if "entropy" in block.measures and folded.entropy is None:
                entropy = _row_entropy(block, attention, row, scratch)
                yield f"entropy.{block.name}", _by_layer(entropy, layers)
    flat = {block: mass.flatten(0, 1) for block, mass in masses.items()}
    for query, total in plan.total_plans.items():
        by_segment = _total(total, flat, attention, row, scratch)
        shares = [by_segment[segment.name] for segment in plan.totals[query]]
        yield f"total.{query}", _by_layer(torch.stack(shares, 1), layers)


def _by_layer(values: Tensor, layers: int) -> Tensor:
    """Return (layer · head, …) as (layer, head, …)."""
    parts: Tensor = values.unflatten(0, (layers, -1))
    return parts


def _fold(
    blocks: Pass, attention: Attention, row: int, scratch: Scratch, layers: int
) -> Iterator[tuple[BlockPlan, Folded]]:
    """Pass once over the probabilities of blocks."""
    widest, _ = blocks[0]
    sums = [(_Sums(block, attention, row, layers), span) for block, span in blocks]
    with_logs = any(each.wants_entropy for each, _ in sums)
    chunks = _chunks(widest.queries, widest.keys, attention, row, scratch, with_logs=with_logs)
    for some, rows, logs, probs in chunks:
        products = _products(probs, logs) if with_logs else None
        for each, span in sums:
            start, stop = max(rows.start, span.start), min(rows.stop, span.stop)
            if start < stop:
                here = slice(start - rows.start, stop - rows.start)
                inside = slice(start - span.start, stop - span.start)
                each.add(
                    some, inside, probs[:, here], None if products is None else products[:, here]
                )
    for each, _ in sums:
        yield each.block, each.folded()


class _Sums:
    """Add up the probabilities of a block, piece by piece; a piece is all of it, or of one layer.

    What has heads is (layer · head, …) while it is added up.
    """

    def __init__(self, block: BlockPlan, attention: Attention, row: int, layers: int) -> None:
        measures = block.measures
        self.block = block
        self.wants_entropy = "entropy" in measures and block.whole_rows
        self._wants_map = bool(measures & {"map", "share", "peak"})
        self._layers = layers
        self._heads = attention.shape[1]
        self._valid = _valid(attention, row, block.queries)
        self._mass: Tensor | None = None
        self._map: Tensor | None = None
        self._products: Tensor | None = None
        self._headmap: Tensor | None = None
        if "headmap" in measures:
            self._headmap = torch.empty(
                self._heads,
                len(block.queries),
                len(block.groups),
                device=attention.device,
                dtype=torch.float16,
            )

    def add(self, some: slice, rows: slice, probs: Probs, products: PerQuery | None) -> None:
        """Add the probabilities of some heads and rows, and each row's sum of p log p."""
        queries, keys = len(self.block.queries), len(self.block.keys)
        self._mass = _plus(self._mass, probs.sum(1), (self._heads, keys), some)
        if self._wants_map:
            shape = (queries, self._layers, keys)
            over_heads = _by_layer(probs, self._layers).sum(1).transpose(0, 1)
            self._map = _plus(self._map, over_heads, shape, rows)
        if self._headmap is not None:
            self._headmap[some, rows] = _columns(probs, self.block)
        if self.wants_entropy and products is not None:
            self._products = _plus(self._products, products.sum(1), (self._heads,), some)

    def folded(self) -> Folded:
        """Return the means; what was added is changed in place."""
        valid, entropy, layers = self._valid, self._products, self._layers
        count = _count(valid, len(self.block.queries))
        if self._mass is None:
            raise ValueError("a block has rows")
        self._mass /= count
        if self._map is not None:
            heads = self._heads // layers
            self._map /= heads if valid is None else valid.sum(0).clamp(min=1)[:, None, None]
        if self._headmap is not None and valid is not None:
            self._headmap.masked_fill_(~valid[:, :, None], torch.nan)
        if entropy is not None:
            entropy /= -_flat(count)
        return Folded(
            mass=_by_layer(self._mass, layers),
            entropy=None if entropy is None else _by_layer(entropy, layers),
            map=None if self._map is None else self._map.transpose(0, 1),
            headmap=None if self._headmap is None else _by_layer(self._headmap, layers),
            rows=None if valid is None else valid.any(0),
        )


def _plus(total: Tensor | None, part: Tensor, shape: tuple[int, ...], at: slice) -> Tensor:
    """Add a part to a total of some shape, which begins with it where it is all."""
    if total is None:
        if part.shape == shape:
            return part
        total = part.new_zeros(shape)
    total[at].add_(part)
    return total


def _finish(block: BlockPlan, folded: Folded) -> Iterator[tuple[str, Tensor]]:
    yield "mass", folded.mass
    if folded.entropy is not None:
        yield "entropy", folded.entropy
    if folded.headmap is not None:
        yield "headmap", folded.headmap
    if folded.map is None:
        return
    if "share" in block.measures:
        whole = folded.map.sum(-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
        of_text = folded.map / whole
        shared = of_text if folded.rows is None else of_text[:, folded.rows]
        yield "share", shared.mean(1)
        if "share_max" in block.measures:
            yield "share_max", of_text.amax(1)
    if "peak" in block.measures:
        yield "peak", folded.map.amax(1)
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


def _count(valid: Tensor | None, queries: int) -> int | Tensor:
    """Return how many rows all heads have, or (head, 1); a mean over none of them is NaN."""
    return queries if valid is None else valid.sum(1, keepdim=True)


def _flat(count: int | Tensor) -> int | Tensor:
    """Return how many rows all heads have, or (head,)."""
    return count if isinstance(count, int) else count.squeeze(-1)


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
    has_logs = with_logs and attention.has_logs(row)
    columns, device = as_index(keys, attention.device), attention.device
    for some, span in _pieces(attention.shape[1], len(queries), len(keys)):
        index = as_index(queries[span], device)
        shape = (some.stop - some.start, span.stop - span.start, len(keys))
        out = scratch.take("probs", device, *shape)
        if has_logs:
            logs = scratch.take("logs", device, *shape)
            attention.log_probs(row, some, index, columns, logs)
            probs = torch.exp(logs, out=out)
        else:
            logs, probs = None, attention.probs(row, some, index, columns, out)
        if valid is not None:
            probs = probs.masked_fill(~valid[some, span, None], 0)
        yield some, span, logs, probs


def _pieces(num_heads: int, queries: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """Cut (head, query, key) into pieces of `CHUNK` at most: whole heads, or rows of one."""
    heads = max(1, min(num_heads, CHUNK // (queries * keys)))
    rows = min(queries, max(1, CHUNK // (heads * keys)))
    for head in range(0, num_heads, heads):
        some = slice(head, min(head + heads, num_heads))
        for start in range(0, queries, rows):
            yield some, slice(start, min(start + rows, queries))


def _products(probs: Probs, logs: Logits | None) -> PerQuery:
    """Return the sum of p log p of each row; a logarithm costs as much as all else together."""
    if logs is None:
        logs = probs.log().clamp_(min=LEAST)
    products: Tensor = torch.linalg.vecdot(probs, logs)
    return products


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
    products = torch.zeros(attention.shape[1], device=attention.device)
    keys = tuple(range(attention.shape[3]))
    chunks = _chunks(block.queries, keys, attention, row, scratch, with_logs=True)
    for some, _, logs, probs in chunks:
        products[some] += _products(probs, logs).sum(1)
    valid = _valid(attention, row, block.queries)
    return products / -_flat(_count(valid, len(block.queries)))


def _total(
    total: TotalPlan,
    masses: Measures,
    attention: Attention,
    row: int,
    scratch: Scratch,
) -> Measures:
    """Return what the rows of a query part give to each key segment, (head,), by its name.

    What one segment gets is 1 minus the others where no key is hidden, so nothing need be computed
    for it.
    """
    by_segment = {
        segment: masses[block][:, keys].sum(1) for segment, (block, keys) in total.sums.items()
    }
    hides = attention.mask is not None or attention.open_probs is not None
    if len(total.missing) == 1 and not hides and attention.valid is None:
        by_segment[total.missing[0].name] = 1 - torch.stack(list(by_segment.values())).sum(0)
        return by_segment
    for segment in total.missing:
        mass = torch.zeros(attention.shape[1], device=attention.device)
        keys = tuple(range(segment.start, segment.stop))
        for some, _, _, probs in _chunks(total.queries, keys, attention, row, scratch):
            mass[some] += probs.sum((1, 2))
        valid = _valid(attention, row, total.queries)
        by_segment[segment.name] = mass / _flat(_count(valid, len(total.queries)))
    return by_segment


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
