"""Do edits to the attention kernels that run; a tap that lies around sees what then runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import _disable_current_modes

from attn.engine.attention import HIDDEN
from attn.engine.interventions.acts import (
    Edit,
    EditAxes,
    change_probs,
    changed_heads,
    logit_bias,
    needs_probs,
)
from attn.engine.kernels import FUSED, SOFTMAX, OperatorMode, bind
from attn.errors import CaptureError

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class CallEdits(ABC):
    """What is done to the calls of a module.

    Attributes:
        name: of the module, for messages.
    """

    name: str

    @abstractmethod
    def laid_out(self, shape: Sequence[int], device: torch.device) -> tuple[Edit, ...]:
        """Return the edits for a call; none if it is not one of the module's own."""


@dataclass(frozen=True)
class Edits(CallEdits):
    """Edits of calls whose shape is known before.

    Attributes:
        shape: (rows, heads, queries, keys) of the calls that are meant.
        edits: of those axes.
        sinks: how many keys, the first, are a learned sink, which kernels have last.
    """

    shape: Shape
    edits: tuple[EditAxes, ...]
    sinks: int = 0

    def laid_out(self, shape: Sequence[int], device: torch.device) -> tuple[Edit, ...]:
        """Return the edits for a call; see `CallEdits`.

        Heads may be rows, or those of a group queries: (row, key head, group · query).
        """
        rows, heads, queries, keys = self.shape
        if shape[-1] != keys or torch.Size(shape[:-1]).numel() != rows * heads * queries:
            return ()
        edits = tuple(edit.whole(device) for edit in self.edits)
        if self.sinks:
            edits = tuple(_roll(edit, self.sinks) for edit in edits)
        if tuple(shape) == self.shape:
            return edits
        return tuple(
            Edit(edit.act, edit.amount, edit.where.expand(self.shape).reshape(_four(shape)))
            for edit in edits
        )


@dataclass
class Treated:
    """What was seen of the calls that were changed: the largest difference of explicit softmaxes.

    Attributes:
        explicit: greatest difference, without the acts, of outputs that were computed in the open
            from those of the kernel, as a part of its largest output; None where no act needed it.
        count: calls that were changed.
        names: of the modules in which they were.
        current: likewise in the forward that runs.
    """

    explicit: float | None = None
    count: int = 0
    names: set[str] = field(default_factory=set)
    current: set[str] = field(default_factory=set)

    def note(self, name: str, difference: float | None = None) -> None:
        """Count a call of a module."""
        self.count += 1
        self.names.add(name)
        self.current.add(name)
        if difference is not None:
            self.explicit = max(difference, self.explicit or 0.0)


class InterventionMode(OperatorMode):
    """Change the attention kernels that run under this mode.

    Args:
        edits: asked at every kernel for what is done to it; None is nothing.
        treated: told what was done.
    """

    changes_calls = True
    """Whoever records must see what runs below it."""

    def __init__(self, edits: Callable[[], CallEdits | None], treated: Treated) -> None:
        super().__init__()
        self._edits = edits
        self._treated = treated

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns, changed if it is one of attention."""
        edits = self._edits() if func in FUSED or func in SOFTMAX else None
        if edits is None:
            return func(*args, **kwargs)
        change = self._fused if func in FUSED else self._open
        return change(func, edits, args, kwargs)

    def _fused(
        self, func: OpOverload, edits: CallEdits, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        call = bind(func, args, kwargs)
        query, key, value = call["query"], call["key"], call["value"]
        parts = edits.laid_out((*query.shape[:3], key.shape[2]), query.device)
        if not parts:
            return func(*args, **kwargs)
        with _disable_current_modes():
            plain = _plain_mask(call)
            mask = _masked(plain, logit_bias(parts), query.dtype)
            _require_keys(edits.name, plain, mask)
        options = {"scale": call["scale"], "enable_gqa": query.shape[1] != key.shape[1]}
        if not needs_probs(parts):
            output = scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
            self._treated.note(edits.name)
            return _like(func, output)
        with _disable_current_modes():
            output = scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
            logits = _logits(call, mask)
            wide = _repeat(value, query).float()
        probs = torch.softmax(logits, -1)
        with _disable_current_modes():
            changed = changed_heads(parts)
            difference = (probs @ wide - output).masked_fill(~changed, 0).abs().max()
            relative = difference / output.abs().max().clamp(min=torch.finfo(output.dtype).tiny)
            change_probs(probs, parts)
        explicit = torch.matmul(probs, wide).to(output.dtype)
        self._treated.note(edits.name, float(relative))
        return _like(func, torch.where(changed, explicit, output))

    def _open(
        self, func: OpOverload, edits: CallEdits, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Tensor:
        logits, axis, *rest = args
        parts = edits.laid_out(logits.shape, logits.device)
        if not parts or axis % logits.ndim != logits.ndim - 1:
            result: Tensor = func(*args, **kwargs)
            return result
        with _disable_current_modes():
            bias = logit_bias(parts)
            if bias is not None:
                whole = bias.expand(_four(logits.shape)).reshape(logits.shape)
                changed = logits + whole.to(logits.dtype)
                _require_keys(edits.name, logits, changed)
                logits = changed
        probs: Tensor = func(logits, axis, *rest, **kwargs)
        with _disable_current_modes():
            change_probs(probs.view(_four(probs.shape)), parts)
        self._treated.note(edits.name)
        return probs


def _four(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of four axes: legacy code has its heads in the first of three."""
    return (1,) * (4 - len(shape)) + tuple(shape)


def _roll(edit: Edit, sinks: int) -> Edit:
    where = edit.where
    rolled = where.roll(-sinks, -1) if where.shape[-1] > 1 else where
    return Edit(edit.act, edit.amount, rolled)


def _plain_mask(call: Mapping[str, Any]) -> Tensor | None:
    """Return the additive mask of a call, its causal part too."""
    query, key = call["query"], call["key"]
    mask: Tensor | None = call.get("attn_mask", call.get("attn_bias"))
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
    if not call["is_causal"]:
        return mask
    causal: Tensor = query.new_full((query.shape[2], key.shape[2]), -torch.inf).triu(1)
    return causal if mask is None else mask + causal


def _masked(mask: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if bias is None:
        return mask
    added: Tensor = bias if mask is None else mask + bias
    return added.to(dtype)


def _require_keys(name: str, before: Tensor | None, after: Tensor | None) -> None:
    """Refuse a cut that leaves a row without a key.

    Raises:
        CaptureError: says in which module.
    """
    if after is None or after is before:
        return
    left = (after > HIDDEN).any(-1)
    had = left.new_ones(()) if before is None else (before > HIDDEN).any(-1)
    if not bool((left | ~had).all()):
        raise CaptureError(
            f"the cut hides every key of a row in {name}, so that nothing is left to attend to; "
            "cut fewer keys, or of fewer queries (@queries=generated: the first tokens of a causal "
            "model read but themselves), or skip the layer"
        )


def _logits(call: Mapping[str, Any], mask: Tensor | None) -> Tensor:
    query, key = call["query"], call["key"]
    scale = query.shape[-1] ** -0.5 if call["scale"] is None else call["scale"]
    logits: Tensor = (query.float() @ _repeat(key, query).float().mT) * scale
    return logits if mask is None else logits + mask


def _repeat(states: Tensor, query: Tensor) -> Tensor:
    """Give every head its key or value where a group shares them."""
    return states.repeat_interleave(query.shape[1] // states.shape[1], 1)


def _like(func: OpOverload, output: Tensor) -> tuple[Any, ...]:
    """Return what an operator returns, of which callers read the output only."""
    rest = func._schema.returns[1:]
    return (output, *(0 if "Int" in str(of.type) else output.new_empty(0) for of in rest))
