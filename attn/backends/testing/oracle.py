"""What every measure should be, from its definition, in float64 and with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.schema import Column, Layer, block_columns, block_names, part, positions
from attn.schema import Sequence as TokenSequence

if TYPE_CHECKING:
    from attn.engine.attention import Attention

HIDDEN_BELOW = -1e38
"""A row all of whose keys are masked by less is spread evenly: its logits are rounded away."""


def exact_probs(attention: Attention, row: int) -> np.ndarray:
    """Return the softmax of what the kernel was given, one batch row, (head, query, key) float64.

    Where the model computed its softmax in the open, that is what is returned. Rows that are none
    are 0.
    """
    valid = attention.row_valid(row)
    is_row = np.ones((1, 1)) if valid is None else valid.cpu().numpy()
    if attention.open_probs is not None:
        return np.asarray(as_float64(attention.open_probs[row]) * is_row[..., None])
    logits = exact_logits(attention, row)
    mask = np.zeros(logits.shape)
    if attention.mask is not None:
        mask += as_float64(attention.mask.expand(attention.shape)[row])
    if attention.causal:
        mask[..., np.triu(np.ones(logits.shape[1:], bool), 1)] = -np.inf
    evened = (mask.max(-1, keepdims=True) < HIDDEN_BELOW) & np.isfinite(mask)
    return np.asarray(softmax(np.where(evened, 0.0, logits + mask)) * is_row[..., None])


def exact_logits(attention: Attention, row: int) -> np.ndarray:
    """Return scale · query · keyᵀ of one batch row, (head, query, key) float64, unmasked."""
    query, key = (as_float64(tensor[row]) for tensor in attention.factors()[:2])
    grouped = np.repeat(key, len(query) // len(key), axis=0)
    return np.asarray(attention.scale * query @ grouped.swapaxes(1, 2))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis; a row of -inf is 0 throughout."""
    peak = logits.max(-1, keepdims=True)
    powers = np.exp(logits - np.where(np.isfinite(peak), peak, 0.0))
    whole = np.maximum(powers.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(powers / whole)


def _mean_rows(values: np.ndarray, axis: int) -> np.ndarray:
    """Return means over the rows that there are; NaN where there is none, as in an empty text."""
    count = (~np.isnan(values)).sum(axis)
    return np.asarray(np.nansum(values, axis) / np.where(count > 0, count, np.nan))


def measures(layer: Layer, probs: np.ndarray) -> dict[str, np.ndarray]:
    """Return every measure of every block of a layer, by the tensors' names in a trace.

    Args:
        layer: its segments say which positions a block is.
        probs: (head, query, key), full rows; a row that is 0 throughout sees no key, so it is none.
    """
    probs = np.where(probs.sum(-1, keepdims=True) > 0, probs, np.nan)
    values: dict[str, np.ndarray] = {}
    for name in block_names(layer):
        query, key = (positions(part(side, half)) for side, half in _sides(layer, name))
        rows = probs[:, query]
        block = rows[:, :, key]
        values[f"{layer.index}/mass.{name}"] = _mean_rows(block, 1)
        values[f"{layer.index}/entropy.{name}"] = _mean_rows(_entropy(rows), 1)
        values[f"{layer.index}/map.{name}"] = block.mean(0)
        values[f"{layer.index}/headmap.{name}"] = block
        parts = [rows[..., segment.start : segment.stop].sum(-1) for segment in layer.keys]
        total = [_mean_rows(each, 1) for each in parts]
        values[f"{layer.index}/total.{name.split('.')[0]}"] = np.stack(total, 1)
        if name == "image.text":
            maps = block.mean(0)
            text = maps.sum(1, keepdims=True)
            share = np.divide(maps, text, out=maps * 0, where=text > 0)
            values[f"{layer.index}/share.{name}"] = _mean_rows(share, 0)
            values[f"{layer.index}/share_max.{name}"] = np.nanmax(share, 0)
            values[f"{layer.index}/peak.{name}"] = np.nanmax(maps, 0)
    return values


def fold_columns(
    probs: np.ndarray, layer: Layer, block: str, columns: Sequence[Column], sequence: TokenSequence
) -> np.ndarray:
    """Return the key columns that a trace keeps of a block: tokens one by one, the rest in one.

    Args:
        probs: (…, key), all keys of the block.
        layer: whose block it is.
        block: its name.
        columns: `Kept.columns`.
        sequence: of the branch; positions of text columns count in it.
    """
    keys = part(layer.keys, block.split(".")[1])
    start: dict[str, int] = {}
    for index, segment in enumerate(keys):
        start[segment.name] = sum(before.length for before in keys[:index])
    selected = block_columns(layer, block, columns)
    alone = {(each.segment, each.position) for each in selected}
    folded = []
    for column in selected:
        segment = next(each for each in keys if each.name == column.segment)
        origin = sequence.segment(segment.name).start if segment.kind == "text" else segment.start
        everything = range(segment.length)
        offsets = (
            [index for index in everything if (segment.name, origin + index) not in alone]
            if column.position is None
            else [column.position - origin]
        )
        folded.append(probs[..., [start[segment.name] + index for index in offsets]].sum(-1))
    return np.stack(folded, -1)


def as_float64(tensor: Any) -> np.ndarray:
    """Return a torch tensor of any float dtype as float64."""
    array: np.ndarray = tensor.detach().cpu().double().numpy()
    return array


def _entropy(rows: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(rows == 0, 0.0, -rows * np.log(rows))
    return np.asarray(terms.sum(-1))


def _sides(layer: Layer, block: str) -> tuple[tuple[Any, str], tuple[Any, str]]:
    query, key = block.split(".")
    return (layer.queries, query), (layer.keys, key)
