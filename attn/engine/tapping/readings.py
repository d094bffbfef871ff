"""What a model reads in a call: a stretch of a sequence, its tokens and its padding."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.engine.attention import HIDDEN

IDS = ("decoder_input_ids", "input_ids")
EMBEDDINGS = ("decoder_inputs_embeds", "inputs_embeds")
KEPT = ("decoder_attention_mask", "attention_mask")
"""Arguments that say which positions are no padding, 1 or True."""
HIDES = ("src_key_padding_mask", "tgt_key_padding_mask")
"""Arguments that say which positions are padding, True or -inf."""
CUT = ("position_ids", "attention_mask")
"""Arguments that transformers cuts into pieces where it reads a prompt in pieces."""
NO_IDS = ("mask", "position", "type", "label")
"""Parts of the names of arguments with whole numbers that are no tokens."""
MATRIX, VECTORS, FULL = 2, 3, 4
"""Axes of ids and masks of positions, of embeddings, of masks of every query."""

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """A stretch of a sequence that a module reads in one call.

    Attributes:
        rows: of the batch.
        length: positions that are read.
        past: positions before them, whose keys a cache holds; None where nothing says so.
        ids: (row, position) of the tokens; None where vectors are read.
        padding: (row, past + length) bool, True where a position only fills the row up; None where
            nothing says so.
        cache: the model's cache of keys, if it is given one.
        whole: positions of the whole text, if what is given of this piece was cut from theirs.
    """

    rows: int
    length: int
    past: int | None
    ids: Tensor | None
    padding: Tensor | None
    cache: Any = None
    whole: int | None = None


class Readings:
    """Note what modules read while they run.

    Args:
        modules: those around what is watched, by path; the innermost that reads something counts.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._handles: list[RemovableHandle] = []
        self._running: list[tuple[str, Reading]] = []
        self._thread = get_ident()  # in which they run

    def __enter__(self) -> Readings:
        for path, module in self._modules.items():
            self._handles += [
                module.register_forward_pre_hook(partial(self._before, path), with_kwargs=True),
                module.register_forward_hook(partial(self._after, path), always_call=True),
            ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running.clear()

    @property
    def current(self) -> Reading | None:
        """What the innermost module reads; vectors are those of tokens that one around it read."""
        is_here = self._running and self._thread == get_ident()
        return self._running[-1][1] if is_here else None

    def clear(self) -> None:
        """Forget what an error left behind."""
        self._running.clear()

    def _before(
        self, path: str, module: nn.Module, args: tuple[Any, ...], named: Arguments
    ) -> None:
        if self._running and self._thread != get_ident():
            return
        reading = read_call(module, args, named)
        if reading is None:
            return
        self._thread = get_ident()
        outer = self.current
        if outer is not None and _is_same(reading, outer):
            reading = replace(
                reading,
                ids=outer.ids if reading.ids is None else reading.ids,
                past=outer.past if reading.past is None else reading.past,
                padding=outer.padding if reading.padding is None else reading.padding,
            )
        self._running.append((path, reading))

    def _after(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        is_running = self._running and self._thread == get_ident()
        if is_running and self._running[-1][0] == path:
            self._running.pop()


def read_call(module: nn.Module, args: tuple[Any, ...], named: Arguments) -> Reading | None:
    """Return what a module is called to read, or None if that is no sequence of tokens."""
    if not named and not any(_is_ids(value) for value in args):
        return None
    names = {**_positional(module, args), **named}
    ids = next(filter(None, (_tokens(names, name) for name in IDS)), None) or _any_ids(names)
    vectors = next(
        (names[name] for name in EMBEDDINGS if _is_tensor(names.get(name), VECTORS)), None
    )
    read = ids[0] if ids else vectors
    masked = [name for name in (*KEPT, *HIDES) if _is_tensor(names.get(name), MATRIX)]
    if read is None and not masked:
        return None
    rows, length = (names[masked[0]] if read is None else read).shape[:2]
    cache = names.get("past_key_values")
    past = _past(cache, names.get("cache_position"))
    padding = _padding(names, past or 0, length)
    return Reading(
        rows, length, past, ids[0] if ids else None, padding, cache, _width_of_whole(names)
    )


def read_source(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and padding of the text that an encoder reads."""
    ids = (reading.ids if reading.ids is not None else torch.zeros(0)).cpu().long().numpy()
    padding = reading.padding
    return ids, np.zeros(ids.shape, bool) if padding is None else padding.cpu().numpy()


def padding_of(reading: Reading | None, rows: tuple[int, int]) -> Tensor | None:
    """Return which of the positions that are read are padding, of (row, position) so many."""
    if reading is None or reading.padding is None or reading.length != rows[1]:
        return None
    return reading.padding[:, -rows[1] :]


def cached_keys(cache: Any) -> Tensor | None:
    """Return the keys of a cache of transformers, of the layer that has most positions, or None."""
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", ())
    keys = [getattr(layer, "keys", None) for layer in layers]
    held = [key for key in keys if isinstance(key, Tensor) and key.numel()]
    return max(held, key=lambda key: key.shape[-2], default=None)


def continued_rows(before: Tensor | None, after: Tensor | None) -> list[int] | None:
    """Return which row of a cache each row was before, as beams are sorted; None if its own.

    Args:
        before: keys at the end of a call.
        after: keys at the begin of the next.
    """
    if before is None or after is None or before is after or before.shape != after.shape:
        return None
    rows = range(len(before))
    parents = []
    for row in rows:
        same = [old for old in rows if torch.equal(before[old], after[row])]
        parents.append(row if row in same or not same else same[0])
    return None if parents == list(rows) else parents


def _is_same(reading: Reading, outer: Reading) -> bool:
    """Whether a module reads what one around it reads, perhaps as vectors."""
    is_alike = (reading.rows, reading.length) == (outer.rows, outer.length)
    return is_alike and (reading.ids is None or reading.ids is outer.ids)


def _tokens(names: Arguments, name: str) -> tuple[Tensor] | None:
    return (names[name],) if _is_ids(names.get(name)) else None


def _any_ids(names: Arguments) -> tuple[Tensor] | None:
    """Return the first matrix of whole numbers that may be tokens, by the name of its argument."""
    for name, value in names.items():
        if _is_ids(value) and not any(piece in name for piece in NO_IDS):
            return (value,)
    return None


def _is_ids(value: Any) -> bool:
    return _is_tensor(value, MATRIX) and value.dtype in (torch.int64, torch.int32)


def _is_tensor(value: Any, axes: int) -> bool:
    return isinstance(value, Tensor) and value.ndim == axes


def _positional(module: nn.Module, args: tuple[Any, ...]) -> dict[str, Any]:
    """Name the arguments that a module is given by their places."""
    if not args:
        return {}
    try:
        names = _signature(type(module).forward)[1:]
    except (TypeError, ValueError):  # a forward that is no Python function
        names = ()
    rest = (f"{place}" for place in range(len(names), len(args)))
    return dict(zip((*names, *rest), args, strict=False))


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _past(cache: Any, position: Any) -> int | None:
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    if isinstance(position, Tensor) and position.numel():
        return int(position.flatten()[0])
    return None


def _width_of_whole(names: Arguments) -> int | None:
    """Return how wide the mask or the positions were of which a piece is given."""
    for name in CUT:
        piece = names.get(name)
        if isinstance(piece, Tensor) and piece.ndim >= MATRIX:
            row, column = piece.stride()[-2:]
            if column == 1 and row > piece.shape[-1]:
                return row
    return None


def _padding(names: Arguments, past: int, length: int) -> Tensor | None:
    """Return (row, past + length) bool, True where a position is padding; None if none is."""
    stop = past + length
    of_two = any(names.get(name) is not None for name in (IDS[0], EMBEDDINGS[0]))
    for name in KEPT[:1] if of_two else KEPT:
        mask: Any = names.get(name)
        mask = mask.get("full_attention") if isinstance(mask, Mapping) else mask
        padding = _of_matrix(mask) if _is_tensor(mask, MATRIX) else None
        if _is_tensor(mask, FULL) and not past:
            padding = ~_shown(mask).any(1).any(1)
        if padding is not None and padding.shape[1] >= stop and bool(padding[:, :stop].any()):
            return padding[:, :stop]
    for name in HIDES:
        mask = names.get(name)
        if _is_tensor(mask, MATRIX) and mask.shape[1] == stop:
            hidden: Tensor = mask if mask.dtype == torch.bool else mask < HIDDEN
            return hidden
    return None


def _of_matrix(mask: Tensor) -> Tensor | None:
    """Return where a matrix of 1 and 0 is 0; None for one of other numbers."""
    is_plain = mask.dtype == torch.bool or bool((mask >= 0).all())
    return mask == 0 if is_plain else None


def _shown(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask > HIDDEN
