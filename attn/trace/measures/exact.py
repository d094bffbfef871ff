"""Exact probabilities: recomputed from factors, or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.errors import TraceError
from attn.schema import Layer, Shard, block_columns, part, positions
from attn.trace.labels import attributes, key_labels
from attn.trace.measures.axes import all_columns
from attn.trace.measures.sources import TensorSource
from attn.trace.shapes import Window, step_windows

if TYPE_CHECKING:
    import xarray as xr

FACTORS = ("query", "key", "lse", "scale", "mask")

UNIFORM_BELOW = -1e38
"""A row's log-sum-exp under this means that every key was masked with the dtype's lowest number.

Adding that number rounds every logit away, so such a row is spread evenly over the keys that are
not hidden by -inf.
"""


def read_probs(
    source: TensorSource, layer: Layer, block: str, shard: Shard, cell: tuple[int, int]
) -> xr.DataArray:
    """Return `Trace.probs` of one step; `cell` is the place of branch and sample.

    Raises:
        TraceError: neither factors nor head maps with all keys were kept, or the layer did not run.
    """
    import xarray as xr

    manifest = source.manifest
    rows, columns = _windows(source, layer, shard)
    queries, keys = (
        [place for place in positions(part(segments, half)) if start <= place < stop]
        for segments, half, (start, stop) in zip(
            (layer.queries, layer.keys), block.split("."), (rows, columns), strict=True
        )
    )
    local = [place - rows[0] for place in queries], [place - columns[0] for place in keys]
    values = _read(source, layer, block, shard, cell, local)
    labels = key_labels(manifest, all_columns(manifest, layer, block), [manifest.branches[cell[0]]])
    every = positions(part(layer.keys, block.split(".")[1]))
    there = [every.index(place) for place in keys]
    coords = {name: (dims, array[..., there]) for name, (dims, array) in labels.items()}
    coords["query_position"] = ("query", np.array(queries, np.int64))
    attrs = attributes("probs", layer, block)
    return xr.DataArray(values, coords, ("head", "query", "key"), "probs", attrs)


def _windows(source: TensorSource, layer: Layer, shard: Shard) -> tuple[Window, Window]:
    """Return which queries and keys of a layer a step has."""
    if shard.step is None or shard.step.span is None:
        return (0, layer.num_queries), (0, layer.num_keys)
    return step_windows(layer, source.manifest, shard.step.span)


def _read(
    source: TensorSource,
    layer: Layer,
    block: str,
    shard: Shard,
    cell: tuple[int, int],
    local: tuple[list[int], list[int]],
) -> np.ndarray:
    held, kept = source.tensors(shard.file), source.manifest.kept

    def read(name: str) -> np.ndarray:
        return source.read(shard.file, f"{layer.index}/{name}", cell)

    if f"{layer.index}/lse" in held:
        factors = {name: read(name) for name in FACTORS if f"{layer.index}/{name}" in held}
        return recompute(factors, *local)
    columns = block_columns(layer, block, kept.columns)
    is_whole = columns == all_columns(source.manifest, layer, block)
    if is_whole and f"{layer.index}/headmap.{block}" in held:
        return read(f"headmap.{block}").astype(np.float32)
    if not any(name.startswith(f"{layer.index}/") for name in held):
        step = shard.step.index if shard.step else "mean"
        raise TraceError(f"layer {layer.index} ({layer.path}) did not run in step {step}")
    raise TraceError(
        f"{source.folder or 'the trace'} was kept with level '{kept.level}', keys "
        f"'{kept.keys}', so there are no exact probs of {block} in layer "
        f"{layer.index} ({layer.path}): capture with --keep factors, or with --keep heads "
        f"--keys all --blocks {block}"
    )


def recompute(
    factors: Mapping[str, np.ndarray], rows: Sequence[int], columns: Sequence[int]
) -> np.ndarray:
    """Compute probs = exp(scale · query · keyᵀ + mask - lse) of a block.

    Args:
        factors: query (head, position, channel); key likewise, of as many or fewer heads; lse
            (head, position); scale; maybe mask (head, query, key), axes of size 1 repeat.
        rows: which queries.
        columns: which keys.

    Returns:
        (head, query, key) float32.
    """
    query, lse = factors["query"][:, rows].astype(np.float32), factors["lse"][:, rows, np.newaxis]
    lse = np.where(np.isneginf(lse), 0, lse)  # every key is hidden: a row of zeros
    key = factors["key"][:, columns].astype(np.float32)
    heads, num_keys = len(query), factors["key"].shape[1]
    probs = np.empty((heads, len(rows), len(columns)), np.float32)
    shape = (heads, factors["query"].shape[1], num_keys)
    mask = np.broadcast_to(factors.get("mask", np.float32(0)), shape)
    for head in range(heads):
        logits = query[head] @ key[head * len(key) // heads].T * np.float32(factors["scale"])
        with np.errstate(over="ignore"):  # a mask of the lowest number may go below it
            logits += mask[head][np.ix_(rows, columns)].astype(np.float32)
            np.exp(logits - lse[head], out=probs[head])
    shown = (~np.isneginf(mask[:, rows].astype(np.float32))).sum(-1, keepdims=True)
    np.divide(probs, shown, out=probs, where=lse < UNIFORM_BELOW)
    return probs
