"""Reduce small layers in batches: what a kernel call takes by itself is more than its numbers do.

A batch is of one row of the model's batch, so that its numbers do not depend on the other rows:
the last bits of a product do, of how many it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from attn.engine.attention import Attention
from attn.engine.kernels import exactly
from attn.engine.layer_plans import LayerPlan
from attn.engine.reduction.measures import CHUNK, Scratch, empty, reduce

LIMIT = CHUNK
"""Largest number of probabilities of a batch."""

Row = TypeVar("Row", bound=Hashable)
Take = Callable[[Row, Sequence[int], str, Tensor], None]
"""Takes the row of a batch, indices of its layers, the name of a measure, its values (layer, …)."""


@dataclass
class _Batch:
    """Copies of what layers of one form are computed from, (layer, head, …), and their indices."""

    plan: LayerPlan
    scale: float
    causal: bool
    tensors: dict[str, Tensor]
    layers: list[int] = field(default_factory=list)

    def attention(self) -> Attention:
        """Return the layers as one, the heads of each behind those of the layer before."""
        flat = {
            name: of[: len(self.layers)].flatten(0, 1)[None] for name, of in self.tensors.items()
        }
        return Attention(
            query=flat["query"],
            key=flat["key"],
            lse=flat["lse"],
            mask=flat.get("mask"),
            scale=self.scale,
            causal=self.causal,
            open_probs=None,
            kernel="",
        )


class Batches(Generic[Row]):
    """Collect the small layers of rows, and reduce those of one form at once.

    What a layer is computed from is copied, for the model may write over it afterwards.

    Args:
        take: takes what a batch came to, a measure at a time.
        scratch: reused memory.
    """

    def __init__(self, take: Take[Row], scratch: Scratch) -> None:
        self._take = take
        self._scratch = scratch
        self._batches: dict[tuple[Row, Hashable], _Batch] = {}

    def add(self, row: Row, plan: LayerPlan, attention: Attention, at: int) -> bool:
        """Take one row of a kernel call, unless it is too large, or has more than plain factors.

        Args:
            row: whose it is.
            plan: what is kept of its layer.
            attention: the call.
            at: where the row is in the call.
        """
        size = torch.Size(attention.shape[1:]).numel()
        if 2 * size > LIMIT or plan.factors or not _is_plain(attention):
            return False
        tensors = _tensors(attention, at)
        form = tuple((name, of.shape, of.dtype, of.device) for name, of in tensors.items())
        key = (row, (plan.form, attention.scale, attention.causal, form))
        if key not in self._batches:
            count = LIMIT // size
            copies = {
                name: empty(of.device, count, *of.shape, dtype=of.dtype)
                for name, of in tensors.items()
            }
            self._batches[key] = _Batch(plan, attention.scale, attention.causal, copies)
        batch = self._batches[key]
        for name, of in tensors.items():
            batch.tensors[name][len(batch.layers)].copy_(of)
        batch.layers.append(plan.layer.index)
        if len(batch.layers) == len(batch.tensors["query"]):
            exactly(self._reduce, (row, batch))
        return True

    def flush(self) -> None:
        """Reduce what is there."""
        for (row, _), batch in self._batches.items():
            if batch.layers:
                exactly(self._reduce, (row, batch))

    def _reduce(self, of: tuple[Row, _Batch]) -> None:
        row, batch = of
        count, attention = len(batch.layers), batch.attention()
        for name, values in reduce(batch.plan, attention, 0, self._scratch, count):
            self._take(row, batch.layers, name, values)
        batch.layers.clear()


def _is_plain(attention: Attention) -> bool:
    """Whether a call is all that its query, key, log-sum-exp and mask say."""
    beside = (attention.open_probs, attention.valid, attention.sink)
    return attention.lse is not None and all(of is None for of in beside)


def _tensors(attention: Attention, at: int) -> dict[str, Tensor]:
    """Return what one row of a call is computed from, (head, …)."""
    query, key, lse = attention.factors()
    tensors = {"query": query[at], "key": key[at], "lse": lse[at]}
    mask = attention.row_mask(at)
    if mask is not None:
        tensors["mask"] = mask.expand(query.shape[1], -1, -1)
    return tensors
