"""Do edits to the attention kernels that run; a tap that lies around sees what then runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import _disable_current_modes

from attn.engine.interventions.acts import (
    Edit,
    EditAxes,
    change_probs,
    changed_heads,
    is_negative,
    is_whole,
)
from attn.engine.interventions.calls import CallEdits, require_keys
from attn.engine.interventions.swaps import Columns, RowStates, with_states
from attn.engine.kernels import FUSED, SOFTMAX, OperatorMode, bind, is_other, run
from attn.errors import CaptureError

MASK = "attn_mask"
"""Argument of kernels that take any mask as it is; others have it laid out, or none."""
Shape = tuple[int, int, int, int]
States = tuple[Tensor, Tensor]
"""Keys and values."""


@dataclass(frozen=True)
class ModuleEdits(ABC):
    """What is done to the calls of a module.

    Attributes:
        name: of the module, for messages.
    """

    name: str

    @abstractmethod
    def laid_out(self, shape: Sequence[int], device: torch.device) -> CallEdits:
        """Return the edits for a call; none if it is not one of the module's own."""


@dataclass(frozen=True)
class Edits(ModuleEdits):
    """Edits of calls whose shape is known before.

    Attributes:
        shape: (rows, heads, queries, keys) of the calls that are meant.
        edits: of those axes.
        sinks: how many keys, the first, are a learned sink, which kernels have last.
        swapped: keys of each row that are swapped.
        states: what they are swapped with in the call that runs.
    """

    shape: Shape
    edits: tuple[EditAxes, ...]
    sinks: int = 0
    swapped: tuple[Columns, ...] = ()
    states: tuple[RowStates | None, ...] = ()
    _calls: dict[tuple[Any, ...], CallEdits] = field(default_factory=dict, compare=False)

    def laid_out(self, shape: Sequence[int], device: torch.device) -> CallEdits:
        """Return the edits for a call; see `ModuleEdits`.

        Heads may be rows, or those of a group queries: (row, key head, group · query).
        """
        kind = tuple(shape), device
        if kind in self._calls:
            return self._calls[kind]
        with _disable_current_modes():
            edits = CallEdits(self._lay_out(shape, device))
        if edits.is_small:
            self._calls[kind] = edits
        return edits

    def _lay_out(self, shape: Sequence[int], device: torch.device) -> tuple[Edit, ...]:
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

    def __init__(self, edits: Callable[[], ModuleEdits | None], treated: Treated) -> None:
        super().__init__()
        self._edits = edits
        self._treated = treated

    def passes(self, func: Any) -> bool:
        """Whether it has nothing to do with attention."""
        return is_other(func)

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns, changed if it is one of attention."""
        edits = self._edits() if func in FUSED or func in SOFTMAX else None
        if edits is None:
            return func(*args, **kwargs)
        change = self._fused if func in FUSED else self._open
        return change(func, edits, args, kwargs)

    def _fused(
        self, func: OpOverload, edits: ModuleEdits, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        call = bind(func, args, kwargs)
        query, key, value = call["query"], call["key"], call["value"]
        parts = edits.laid_out((*query.shape[:3], key.shape[2]), query.device)
        if not parts.edits:
            return func(*args, **kwargs)
        swap, other = parts.swap, None
        if swap is not None:
            with _disable_current_modes():
                swapped = _swapped(edits, swap, key, value)
            if is_whole(swap):
                key, value = swapped
            else:
                other = swapped
        mask = _mask(edits.name, parts, call)
        if not parts.needs_probs and other is None:
            self._treated.note(edits.name)
            if MASK in call:
                changed = {"key": key, "value": value, MASK: mask, "is_causal": False}
                return run(func, call | changed)
            options = {"scale": call["scale"], "enable_gqa": query.shape[1] != key.shape[1]}
            output = scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
            return _like(func, output)
        states = _ExplicitCall(query, key, value, call["scale"], mask)
        return _like(func, self._explicit(edits.name, parts, states, other))

    def _explicit(
        self, name: str, call: CallEdits, states: _ExplicitCall, other: States | None
    ) -> Tensor:
        """Return the output of a call whose probabilities are computed in the open.

        Args:
            name: of the module.
            call: the edits.
            states: of the call.
            other: keys and values of another run, for the heads and queries that are swapped.
        """
        swap, parts = call.swap, call.edits
        with _disable_current_modes():
            output, wide = states.kernel(), states.values
            logits = states.logits
            probs = torch.softmax(logits, -1)
            changed = changed_heads(parts)
            difference = (probs @ wide - output).masked_fill(~changed, 0).abs().max()
            relative = difference / output.abs().max().clamp(min=torch.finfo(output.dtype).tiny)
            swapped = replace(states, key=other[0], value=other[1]) if other else states
            rows = swap.where.any(-1, keepdim=True) if swap and other else None
            if rows is not None:
                logits = torch.where(rows, swapped.logits, logits)
        probs = torch.softmax(logits, -1)
        with _disable_current_modes():
            change_probs(probs, [edit for edit in parts if not is_negative(edit)])
        explicit = torch.matmul(probs, swapped.values)
        with _disable_current_modes():
            if any(map(is_negative, parts)):  # what is seen above are still probabilities
                change_probs(probs := probs.clone(), [of for of in parts if is_negative(of)])
                explicit = probs @ swapped.values
            unswapped = probs @ wide
        if rows is not None:
            explicit = torch.where(rows, explicit, unswapped)
        self._treated.note(name, float(relative))
        return torch.where(changed, explicit.to(output.dtype), output)

    def _open(
        self, func: OpOverload, edits: ModuleEdits, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Tensor:
        logits, axis, *rest = args
        parts = edits.laid_out(logits.shape, logits.device)
        if not parts.edits or axis % logits.ndim != logits.ndim - 1:
            result: Tensor = func(*args, **kwargs)
            return result
        _require_doable(edits.name, parts)
        with _disable_current_modes():
            if parts.bias is not None:
                whole = parts.bias.expand(_four(logits.shape)).reshape(logits.shape)
                changed = logits + whole.to(logits.dtype)
                require_keys(edits.name, logits, changed)
                logits = changed
        probs: Tensor = func(logits, axis, *rest, **kwargs)
        with _disable_current_modes():
            change_probs(probs.view(_four(probs.shape)), parts.edits)
        self._treated.note(edits.name)
        return probs


def _four(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of four axes: legacy code has its heads in the first of three."""
    return (1,) * (4 - len(shape)) + tuple(shape)


def _roll(edit: Edit, sinks: int) -> Edit:
    where = edit.where
    rolled = where.roll(-sinks, -1) if where.shape[-1] > 1 else where
    return Edit(edit.act, edit.amount, rolled)


def _mask(name: str, parts: CallEdits, call: Mapping[str, Any]) -> Tensor | None:
    """Return the mask of a call with what the edits add to it, made once of calls without one."""
    dtype = call["query"].dtype
    has_mask = call.get("attn_mask", call.get("attn_bias")) is not None or call["is_causal"]
    if not has_mask and dtype in parts.masks:
        return parts.masks[dtype]
    with _disable_current_modes():
        return parts.mask(name, _plain_mask(call), dtype)


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


def _require_doable(name: str, parts: CallEdits) -> None:
    """Refuse what cannot be done to a softmax in the open.

    Raises:
        CaptureError: keys are swapped, or probabilities would be recorded that are below 0.
    """
    if parts.swap is not None:
        raise CaptureError(
            f"{name} computes its softmax in the open, where its keys are not seen, so that "
            "none can be swapped; load the model with attention=sdpa, or mask the keys"
        )
    if any(map(is_negative, parts.edits)):
        raise CaptureError(
            f"{name} computes its softmax in the open, where a negative factor would make "
            "probabilities below 0; load the model with attention=sdpa, or give a factor from 0"
        )


def _swapped(edits: ModuleEdits, swap: Edit, key: Tensor, value: Tensor) -> States:
    """Return keys and values with those of the other run in their place.

    Raises:
        CaptureError: the call is not laid out so that rows and keys can be told.
    """
    states = edits.states if isinstance(edits, Edits) else ()
    if len(states) != key.shape[0] or (isinstance(edits, Edits) and edits.sinks):
        raise CaptureError(
            f"{edits.name} has rows or keys in another layout than can be swapped; mask the keys "
            "instead"
        )
    return with_states(key, value, states, swap.act)


@dataclass(frozen=True)
class _ExplicitCall:
    """A call that is computed in the open; tensors are (row, head, position, channel)."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float | None
    mask: Tensor | None

    def kernel(self) -> Tensor:
        """Return what the kernel gives."""
        is_grouped = self.query.shape[1] != self.key.shape[1]
        return scaled_dot_product_attention(
            *(self.query, self.key, self.value, self.mask),
            scale=self.scale,
            enable_gqa=is_grouped,
        )

    @property
    def logits(self) -> Tensor:
        """The logits, (row, head, query, key) float32, the mask added."""
        scale = self.query.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits: Tensor = (self.query.float() @ _repeat(self.key, self.query).float().mT) * scale
        return logits if self.mask is None else logits + self.mask

    @property
    def values(self) -> Tensor:
        """The values, each head its own, float32."""
        return _repeat(self.value, self.query).float()


def _repeat(states: Tensor, query: Tensor) -> Tensor:
    """Give every head its key or value where a group shares them."""
    return states.repeat_interleave(query.shape[1] // states.shape[1], 1)


def _like(func: OpOverload, output: Tensor) -> tuple[Any, ...]:
    """Return what an operator returns, of which callers read the output only."""
    rest = func._schema.returns[1:]
    return (output, *(0 if "Int" in str(of.type) else output.new_empty(0) for of in rest))
