"""What a module says of its heads, to read the axes of its attention by."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from attn.engine.attention import Attention
from attn.errors import CaptureError
from attn.schema import Layer

NAMES = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
"""What modules and configurations call the number of heads."""
SINKS = "sinks"
"""What modules of transformers call their learned sinks, a logit for each head."""


def say_module(path: str) -> str:
    """Return what a message calls a module; the path of a whole model is empty."""
    return path or "the model itself"


def count_heads(module: nn.Module) -> int | None:
    """Return how many heads a module says that it has, or None."""
    for owner in (module, getattr(module, "config", None)):
        counts = (getattr(owner, name, None) for name in NAMES)
        count = next((count for count in counts if isinstance(count, int)), None)
        if count is not None:
            return count
    return None


def has_sink(module: nn.Module) -> bool:
    """Whether a module says that it has a learned sink beside its keys."""
    return isinstance(getattr(module, SINKS, None), Tensor)


def require_sink(path: str, module: nn.Module, attention: Attention) -> None:
    """Refuse attention from which a learned sink is missing.

    Raises:
        CaptureError: the module has one, and its kernel was not given it.
    """
    if has_sink(module) and attention.sink is None:
        raise CaptureError(
            f"{say_module(path)} has learned sinks ({SINKS}), which are not among the keys of its "
            f"softmax ({attention.kernel}), so what goes to them cannot be told; load the model "
            "with attn_implementation='eager', if it has its sinks there"
        )


def unfold(attention: Attention, heads: int | None, length: int | None) -> Attention:
    """Give the heads back their axis where a kernel was given those of a group as queries.

    Args:
        attention: of a kernel.
        heads: that the module has, if it says so.
        length: queries of the call, if they are known.
    """
    if attention.query is None or attention.key is None or not heads or length is None:
        return attention
    _, kernel_heads, queries, _ = attention.shape
    groups = queries // length
    is_folded = groups > 1 and (kernel_heads * groups, length * groups) == (heads, queries)
    return attention.unfolded(groups) if is_folded else attention


def share_keys(attention: Attention, groups: object) -> Attention:
    """Take back the copies of keys and values that a library made for grouped queries.

    Some of its calls make them and some do not; so all have the heads of the model.

    Args:
        attention: of a kernel.
        groups: query heads for each key head, as the module says; what is no number is 1.
    """
    key, value = attention.key, attention.value
    if not isinstance(groups, int) or groups < 2 or key is None or value is None:  # noqa: PLR2004
        return attention
    if key.shape[1] != attention.shape[1] or key.shape[1] % groups:
        return attention
    if not torch.equal(key[:, ::groups], key[:, groups - 1 :: groups]):
        return attention
    return replace(attention, key=key[:, ::groups], value=value[:, ::groups])


def without_copies(attention: Attention, layer: Layer) -> Attention:
    """Take back the copies of keys that a library made for the grouped queries of a layer."""
    return share_keys(attention, layer.num_heads // (layer.num_key_heads or layer.num_heads))


def with_heads(attention: Attention, batch: int) -> Attention:
    """Unfold (batch · head, query, key), as legacy attention code lays its softmax out."""
    open_probs = attention.open_probs
    if open_probs is None or open_probs.shape[0] != 1 or open_probs.shape[1] % batch:
        return attention
    valid, value, sink = attention.valid, attention.value, attention.sink
    return replace(
        attention,
        open_probs=open_probs.reshape(batch, -1, *open_probs.shape[2:]),
        sink=None if sink is None else sink.reshape(batch, -1, sink.shape[-1]),
        valid=None if valid is None else valid.reshape(batch, -1, valid.shape[-1]),
        value=None if value is None else value.reshape(batch, -1, *value.shape[2:]),
    )


def check_axes(
    path: str, attention: Attention, heads: int | None, length: int | None, axes: str | None
) -> bool:
    """Compare the axes of a softmax in the open with what its module says.

    Args:
        path: of the module.
        attention: of any kernel.
        heads: that the module has, if it says so.
        length: queries of the call, if they are known.
        axes: that were named for the module.

    Returns:
        whether the axes had to be assumed: nothing names or confirms them, or what the module says
        is as true of heads and queries the other way round.

    Raises:
        CaptureError: the axes contradict the module.
    """
    if attention.open_probs is None:
        return False
    _, got, queries, _ = attention.shape
    if heads is None and length is None:
        return axes is None
    is_wrong = (heads not in (None, got)) and (axes is not None or queries == heads)
    if heads is None:
        is_wrong = queries != length and got == length
    if is_wrong:
        expected = f"{heads} heads" if heads else f"{length} queries"
        way = (
            "its axes are others than axes= names"
            if axes
            else "its axes are others than batch, head, query, key: name them, as in axes='bqhk'"
        )
        raise CaptureError(
            f"{say_module(path)} has {expected}, but its softmax would have {got} heads and "
            f"{queries} queries; {way}"
        )
    is_either = got == queries > 1  # one head and one query are the same in both orders
    return axes is None and (is_either or (heads != got and queries != length))
