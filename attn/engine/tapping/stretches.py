"""Which positions of a growing text a kernel has for queries and keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from attn.engine.attention import HIDDEN, Attention
from attn.engine.tapping.readings import Reading
from attn.errors import CaptureError


@dataclass(frozen=True)
class Pieces:
    """Positions of a row that attends in pieces, such as windows: those of one or of all."""

    count: int
    length: int


Side = Literal["text", "source"] | int | Pieces
"""What queries or keys are: the text, the text that its encoder reads, or so many others."""


@dataclass(frozen=True)
class Stretch:
    """The positions `[start, stop)` of a text that the model reads in one forward."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many they are."""
        return self.stop - self.start


def pieces_of(attention: Attention, rows: int | None) -> tuple[Pieces, Pieces] | None:
    """Return what queries and keys are where each row of the batch attends in pieces, else None.

    Args:
        attention: of a kernel.
        rows: of the batch, if the call says so.
    """
    batch, _, queries, keys = attention.shape
    if rows is None or batch == rows or batch % rows:
        return None
    return Pieces(batch // rows, queries), Pieces(1, keys)


def follow(reading: Reading, reached: int, ids: Tensor | None) -> Stretch:
    """Return which positions of the text a forward reads.

    Args:
        reading: of the forward.
        reached: end of what was read before.
        ids: of what was read before, (row, position).

    Raises:
        CaptureError: it reads another text.
    """
    past = reading.past
    if past is None:  # a cache that is not handed over, or none at all
        past = reached if reading.length < reached else 0
    stretch = Stretch(past, past + reading.length)
    if past > reached and (reached or reading.ids is not None):
        raise CaptureError(
            f"a forward reads positions {past} to {stretch.stop}, but the text had reached "
            f"{reached} only: its cache holds what no tapped forward read; tap all of its forwards"
        )
    if past and past < reached:
        raise CaptureError(
            f"a forward reads from position {past} again, after {reached}: its steps were taken "
            "back, as with an assistant model, so they are none of this text; generate without"
        )
    if not past and reached:
        _require_same_text(stretch, reading.ids, reached, ids)
    return stretch


def _require_same_text(
    stretch: Stretch, ids: Tensor | None, reached: int, before: Tensor | None
) -> None:
    is_same = stretch.stop == reached or ids is None or before is None
    if stretch.stop < reached or not (is_same or _begins(ids, before)):
        raise CaptureError(
            f"a forward of {stretch.stop} positions follows one of {reached} and reads another "
            "text; use one tap for each"
        )


def _begins(ids: Tensor | None, before: Tensor | None) -> bool:
    """Whether what is read begins with what was read before."""
    return (
        ids is not None
        and before is not None
        and torch.equal(ids[:, : before.shape[1]].cpu().long(), before)
    )


def fit(attention: Attention, stretch: Stretch, cache: Any) -> Attention | None:
    """Return attention of a stretch to itself and all before it, as if every key were there.

    Keys of a cache that were not written yet are taken away; those that a sliding window dropped
    are put back, hidden.

    Args:
        attention: whose queries are the stretch.
        stretch: where they are in the text.
        cache: the model's cache; knows how long windows are.

    Returns:
        None if the keys are no part of the text.
    """
    keys = attention.shape[3]
    if keys == stretch.stop:
        return attention
    if keys > stretch.stop:
        return _without_unwritten(attention, stretch.stop)
    windows = _windows(cache)
    is_window = any(keys in (size, size - 1 + stretch.length) for size in windows)
    return _with_dropped(attention, stretch.stop - keys) if is_window else None


def _without_unwritten(attention: Attention, stop: int) -> Attention | None:
    """Take away the keys from `stop` on, if they are hidden; a causal mask hides them anyway."""
    keys = attention.shape[3]
    open_probs, mask = attention.open_probs, attention.mask
    if open_probs is not None:
        rest = open_probs[..., stop:]
        is_hidden = not bool(rest.nan_to_num().any())
        if attention.valid is not None:
            is_hidden = not bool(rest[attention.valid.expand(open_probs.shape[:3])].any())
    elif mask is not None and mask.shape[-1] == keys:
        shown = mask[..., stop:] if mask.dtype == torch.bool else mask[..., stop:] > HIDDEN
        is_hidden = not bool(shown.any())
    else:
        is_hidden = attention.causal and attention.shape[2] <= stop
    if not is_hidden:
        return None
    first = slice(0, stop)
    return replace(
        attention,
        key=None if attention.key is None else attention.key[:, :, first],
        value=None if attention.value is None else attention.value[:, :, first],
        mask=mask[..., first] if mask is not None and mask.shape[-1] == keys else mask,
        open_probs=None if open_probs is None else open_probs[..., first],
    )


def _with_dropped(attention: Attention, dropped: int) -> Attention:
    """Put keys in front that the window has dropped: they receive nothing."""
    open_probs, key, mask = attention.open_probs, attention.key, attention.mask
    if mask is None and key is not None:
        mask = torch.zeros(1, 1, 1, key.shape[2], dtype=key.dtype, device=key.device)
    if mask is not None and mask.shape[-1] == 1:
        mask = mask.expand(*mask.shape[:-1], attention.shape[3])
    return replace(
        attention,
        key=_padded(key, (0, 0, dropped, 0)),
        value=_padded(attention.value, (0, 0, dropped, 0)),
        mask=None if mask is None else pad(mask, (dropped, 0), value=-torch.inf),
        open_probs=_padded(open_probs, (dropped, 0)),
    )


def _padded(tensor: Tensor | None, widths: tuple[int, ...]) -> Tensor | None:
    return None if tensor is None else pad(tensor, widths)


def _windows(cache: Any) -> set[int]:
    """Return how many positions the sliding windows of a cache of transformers hold."""
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", ())
    sliding = [layer for layer in layers if getattr(layer, "is_sliding", False)]
    sizes = [getattr(layer, "sliding_window", None) for layer in sliding]
    sizes += [getattr(layer, "max_cache_len", None) for layer in sliding]
    return {size for size in sizes if isinstance(size, int)}
