"""Softmaxes that a model computes in the open: which are attention, and what their axes are.

A softmax is attention if its result multiplies values: if it, or what is made of it number by
number (a cast, another layout, dropout), is a factor of a matrix product. The probabilities of a
router or a classifier are sorted, picked or returned, and are none; nor are those that weigh values
of each query's own, as a mixture of all experts does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from attn.engine.attention import HIDDEN, Attention
from attn.errors import CaptureError

AXES = "bhqk"
"""Letters of the axes batch, head, query and key, in the order in which they are handed on."""

_aten = torch.ops.aten

PRODUCTS = {_aten.bmm.default: (0, 1), _aten.mm.default: (0, 1), _aten.baddbmm.default: (1, 2)}
"""Matrix products, and which of their arguments are the factors."""
WEIGHED = frozenset({_aten.linear.default, _aten.addmm.default})
"""Linear layers: what they make of probabilities is something else."""
PADS = frozenset({_aten.constant_pad_nd.default})
"""What changes how many numbers there are, but keeps each of them."""


@dataclass(eq=False)
class _Candidate:
    """A softmax that may be attention; `copies` are all tensors with its numbers."""

    attention: Attention
    axes: str | None
    copies: list[Tensor]
    storages: set[int] = field(default_factory=set)

    def add(self, tensor: Tensor) -> None:
        self.copies.append(tensor)  # as long as it lives, nothing else has its storage
        self.storages.add(_storage(tensor))

    def follow(self, tensor: Tensor, result: Any, *, all_numbers: bool) -> None:
        for _, made in _tensors((result,)):
            if all_numbers or made.numel() == tensor.numel():
                self.add(made)


class OpenSoftmaxes:
    """Follow the results of softmaxes until they multiply values."""

    def __init__(self) -> None:
        self._candidates: list[_Candidate] = []
        self._weights: dict[int, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self._candidates)

    def add(self, func: OpOverload, args: Sequence[Any], probs: Tensor, axes: str | None) -> None:
        """Take the result of a softmax.

        Args:
            func: the operator.
            args: logits and axis.
            probs: its result.
            axes: letters of `AXES` for each axis of `probs`; None where nobody said them.
        """
        if probs.ndim < 2 or not probs.numel():  # noqa: PLR2004 - queries and keys
            return
        axis = int(args[1]) % probs.ndim
        if axis != (probs.ndim - 1 if axes is None else axes.index("k")):
            return
        shown = (args[0].detach().amax(axis, keepdim=True) > HIDDEN).expand_as(probs)
        valid = arrange(shown, axes)[..., 0]
        attention = Attention(
            query=None,
            key=None,
            lse=None,
            mask=None,
            scale=1.0,
            causal=False,
            open_probs=arrange(probs.detach(), axes),
            kernel=func._schema.name,
            valid=None if bool(valid.all()) else valid,
        )
        candidate = _Candidate(attention, axes, [])
        candidate.add(probs)
        self._candidates.append(candidate)

    def follow(self, func: OpOverload, args: Sequence[Any], result: Any) -> Attention | None:
        """Look at an operator that ran; return the attention that it multiplies with values."""
        for position, tensor in _tensors(args):
            if isinstance(tensor, nn.Parameter):
                self._weights[_storage(tensor)] = tensor
            for candidate in self._candidates:
                if _storage(tensor) not in candidate.storages or func in WEIGHED:
                    continue
                if func not in PRODUCTS:
                    candidate.follow(tensor, result, all_numbers=func in PADS)
                elif position in PRODUCTS[func]:
                    return self._multiplied(candidate, func, args, position)
        return None

    def clear(self) -> None:
        """Forget what multiplied nothing."""
        self._candidates.clear()
        self._weights.clear()

    def _multiplied(
        self, candidate: _Candidate, func: OpOverload, args: Sequence[Any], position: int
    ) -> Attention | None:
        left, right = PRODUCTS[func]
        is_left = position == left
        probs, values = args[position], args[right if is_left else left]
        if _storage(values) in self._weights:
            return None  # a linear layer behind a classifier
        self._candidates.remove(candidate)
        if not is_left:
            probs, values = probs.mT, values.mT
        if candidate.axes is None and _is_mixture(candidate, probs):
            return None
        attention = _without_sink(candidate.attention, probs)
        return replace(attention, value=_lay_out(attention, probs, values))


def read_axes(axes: str) -> str:
    """Check the letters of axes.

    Raises:
        CaptureError: they are not letters of `AXES`, each once, with `q` and `k`.
    """
    if not {"q", "k"} <= set(axes) <= set(AXES) or len(set(axes)) != len(axes):
        raise CaptureError(
            f"axes: expected the letters b (batch), h (head), q (query) and k (key) in the order "
            f"of the softmax, such as 'bqhk', with q and k among them; got '{axes}'"
        )
    return axes


def arrange(probs: Tensor, axes: str | None) -> Tensor:
    """Return probabilities as (batch, head, query, key).

    Args:
        probs: of any number of axes.
        axes: letters of `AXES` for each of them; None takes the last two for query and key, and all
            but four axes' others for heads.

    Raises:
        CaptureError: there are other axes than were said.
    """
    if axes is None:
        if probs.ndim == len(AXES):
            return probs
        return probs.reshape(1, probs.shape[:-2].numel(), *probs.shape[-2:])
    if probs.ndim != len(axes):
        raise CaptureError(
            f"axes='{axes}' names {len(axes)} axes, but the softmax has {probs.ndim}: "
            f"{tuple(probs.shape)}"
        )
    probs = probs.permute([axes.index(letter) for letter in AXES if letter in axes])
    for place, letter in enumerate(AXES):
        if letter not in axes:
            probs = probs.unsqueeze(place)
    return probs


def _without_sink(attention: Attention, probs: Tensor) -> Attention:
    """Take a learned sink out of the keys: the last or first, which is dropped before the product.

    Args:
        attention: with the whole softmax.
        probs: what multiplies the values.
    """
    whole = attention.open_probs
    if whole is None or probs.shape[-1] != whole.shape[-1] - 1:
        return attention
    for sink, keys in ((-1, slice(None, -1)), (0, slice(1, None))):
        rest = whole[..., keys]
        if rest.numel() == probs.numel() and torch.equal(
            rest.to(probs.dtype), probs.detach().reshape(rest.shape)
        ):
            shown = (rest > 0).any(-1)  # where the sink is all that a mask left, there is no row
            valid = shown if attention.valid is None else shown & attention.valid
            return replace(
                attention,
                open_probs=rest,
                sink=whole[..., sink],
                valid=None if bool(valid.all()) else valid,
            )
    return attention


def _is_mixture(candidate: _Candidate, probs: Tensor) -> bool:
    """Whether each query weighs values of its own, as the outputs of experts are, and no keys.

    Args:
        candidate: a softmax whose axes nobody said.
        probs: what multiplies the values: a matrix of one row for each query.
    """
    batch, heads, queries, _ = candidate.attention.shape
    is_of_step = candidate.copies[0].ndim == len(AXES) and heads == 1  # (batch, query, head, key)
    rows = probs.shape[:-1]
    is_alone = len(rows) > 1 and rows[-1] == 1 and rows.numel() == batch * heads * queries
    return queries > 1 and is_alone and not is_of_step


def _lay_out(attention: Attention, probs: Tensor, values: Tensor) -> Tensor | None:
    """Return the values of a product as (batch, head, key, channel), if they are laid out so."""
    batch, heads, queries, keys = attention.shape
    pairs = values.shape[:-2].numel() if values.ndim > 2 else 1  # noqa: PLR2004 - a matrix
    if pairs != batch * heads or tuple(probs.shape[-2:]) != (queries, keys):
        return None
    return values.detach().reshape(batch, heads, keys, values.shape[-1])


def _tensors(values: Sequence[Any]) -> Iterator[tuple[int, Tensor]]:
    for position, value in enumerate(values):
        for tensor in value if isinstance(value, list | tuple) else (value,):
            if isinstance(tensor, Tensor):
                yield position, tensor


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
