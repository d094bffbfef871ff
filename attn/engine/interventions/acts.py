"""What acts do to the logits and the probabilities of one call of an attention kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attn.engine.shapes import Everywhere, KernelProbs, Where
from attn.schema import ON_LOGITS, SWAPS, ActName


@dataclass(frozen=True)
class Edit:
    """An act on a part of one call.

    Attributes:
        act: see `schema.Intervention`.
        amount: its factor or summand; 0 of acts that take none.
        where: (row, head, query, key) bool; an axis of size 1 repeats.
    """

    act: ActName
    amount: float
    where: Tensor


@dataclass(frozen=True)
class EditAxes:
    """An act on the heads, queries and keys of each row of a batch, small enough to be kept.

    Attributes:
        act: see `Edit`.
        amount: likewise.
        heads: (row, head) bool; an axis of size 1 repeats.
        queries: (row, query) bool, likewise.
        keys: (row, key) bool, likewise.
    """

    act: ActName
    amount: float
    heads: Tensor
    queries: Tensor
    keys: Tensor

    def whole(self, device: torch.device) -> Edit:
        """Return where the three meet, on a device."""
        heads, queries, keys = (axis.to(device) for axis in (self.heads, self.queries, self.keys))
        where = heads[:, :, None, None] & queries[:, None, :, None] & keys[:, None, None, :]
        return Edit(self.act, self.amount, where)


def summand(edit: Edit) -> float:
    """Return what an act adds to logits: e^(x + ln F) is F · e^x."""
    if edit.act == "bias":
        return edit.amount
    return math.log(edit.amount) if edit.act == "scale" and edit.amount else -math.inf


def logit_bias(edits: Sequence[Edit]) -> Everywhere | None:
    """Return what all acts before the softmax add to the logits, broadcastable; None is nothing."""
    parts = [
        torch.zeros(edit.where.shape, device=edit.where.device).masked_fill_(
            edit.where, summand(edit)
        )
        for edit in edits
        if edit.act in ON_LOGITS
    ]
    return sum(parts[1:], parts[0]) if parts else None


def change_probs(probs: KernelProbs, edits: Sequence[Edit]) -> None:
    """Do all acts after the softmax, in place."""
    for edit in edits:
        if edit.act in _ON_PROBS:
            probs.copy_(_ON_PROBS[edit.act](probs, edit.where, edit.amount))


def changed_heads(edits: Sequence[Edit]) -> Where:
    """Return where edits change an output in the open, (row, head, query, 1) bool."""
    parts = [edit.where.any(-1, keepdim=True) for edit in edits if edit.act in (*_ON_PROBS, *SWAPS)]
    return torch.stack(torch.broadcast_tensors(*parts)).any(0)


def needs_probs(edits: Sequence[Edit]) -> bool:
    """Whether some act comes after the softmax."""
    return any(edit.act in _ON_PROBS for edit in edits)


def is_negative(edit: Edit) -> bool:
    """Whether an edit makes something of probabilities that is none."""
    return edit.act == "weigh" and edit.amount < 0


def find_swap(edits: Sequence[Edit]) -> Edit | None:
    """Return the edit that takes keys or values of another run, if there is one."""
    return next((edit for edit in edits if edit.act in SWAPS), None)


def is_whole(edit: Edit) -> bool:
    """Whether an edit is of all heads and queries of the rows that it is of at all."""
    rows = edit.where.any(-1).flatten(1)
    return bool((rows.all(1) | ~rows.any(1)).all())


def _weigh(probs: Tensor, where: Tensor, amount: float) -> Tensor:
    return torch.where(where, probs * amount, probs)


def _mean(probs: Tensor, where: Tensor, _: float) -> Tensor:
    rows = where.any(-1, keepdim=True).expand(*probs.shape[:-1], 1).to(probs.dtype)
    mean = (probs * rows).sum(2, keepdim=True) / rows.sum(2, keepdim=True).clamp(min=1)
    return torch.where(rows > 0, mean, probs)


def _skip(probs: Tensor, where: Tensor, _: float) -> Tensor:
    return probs.masked_fill(where, 0.0)


_ON_PROBS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "weigh": _weigh,
    "mean": _mean,
    "skip": _skip,
}
