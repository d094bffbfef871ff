"""Where the queries and keys of a layer are in a row of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attn.engine.attention import placements
from attn.schema import ABSENT, Call, Layer, RowLayout

Sides = tuple[RowLayout, RowLayout]
"""Where the queries and the keys of a layer are in a row of a batch."""


def whole(length: int, padding: int = 0) -> RowLayout:
    """Return positions behind padding."""
    return RowLayout(tuple(range(padding, padding + length)), padding + length)


def sides_of(layer: Layer, call: Call, row: int) -> Sides:
    """Return where the queries and keys of a layer are in a row of the batch."""
    if call.lengths:
        return placements(layer, call, row)
    padding = call.padding[row] if call.padding else 0
    return whole(layer.num_queries, padding), whole(layer.num_keys, padding)


def columns(positions: Sequence[int], side: RowLayout) -> list[int]:
    """Return where positions of a layer are in a row, those that the row has."""
    meant = [side.positions[at] for at in positions if at < len(side.positions)]
    return [at for at in meant if at != ABSENT]


def members(positions: Sequence[int] | None, side: RowLayout) -> Tensor:
    """Return which positions of a row are meant, bool; size 1 if all are."""
    if positions is None:
        return torch.ones(1, dtype=torch.bool)
    meant = torch.zeros(side.length, dtype=torch.bool)
    meant[columns(positions, side)] = True
    return meant.any(0, keepdim=True) if bool(meant.all()) else meant
