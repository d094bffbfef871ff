"""The text that a tapped model reads, as it grows from forward to forward."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from attn.engine.tapping.calls import beam_texts, ended_rows
from attn.engine.tapping.readings import Reading, cached_keys, continued_rows
from attn.engine.tapping.stretches import Stretch, follow
from attn.engine.tapping.texts import NO_ID
from attn.errors import CaptureError


class History:
    """Tokens, padding and ends of the rows of a batch.

    Args:
        ends: ids of the tokens that end a text, where nothing but its tokens says where it ends.
        pad: id of the token that fills rows up which have ended, if it is no end itself.
        told: (row, position) bool, what the user says is padding.

    Attributes:
        reached: how many positions were read.
        length: how many were read in forwards that ended.
        ids: (row, position) int64, `texts.NO_ID` where vectors were read; None if all were.
        padding: (row, position) bool.
        parents: of each forward, which row of the forward before each row continues; None where
            that is its own.
        is_rewritten: whether a forward reads other tokens at the same positions, as a second text
            of the same length does, and not only behind a mask.
    """

    def __init__(
        self, ends: Collection[int] = (), pad: int | None = None, told: Tensor | None = None
    ) -> None:
        self.reached = 0
        self.length = 0
        self._told = told
        self.ids: Tensor | None = None
        self.padding: Tensor | None = None
        self.parents: list[Sequence[int] | None] = []
        self.is_rewritten = False
        self._ends = torch.tensor(sorted(ends), dtype=torch.int64)
        pads = () if pad is None else (pad,)
        self._fillers = torch.tensor(sorted({*ends, *pads}), dtype=torch.int64)
        self._finished: Tensor | None = None
        self._keys: Tensor | None = None

    def follow(self, reading: Reading) -> Stretch:
        """Take what a forward reads; return where that is in the text.

        Raises:
            CaptureError: it is another text.
        """
        rows = len(self.padding) if self.padding is not None else reading.rows
        if reading.rows != rows:
            raise CaptureError(
                f"a forward reads {reading.rows} rows, those before it {rows}; use one tap for "
                "each batch"
            )
        parents = continued_rows(self._keys, cached_keys(reading.cache))
        if reading.ids is not None and not reading.past and reading.length > self.reached:
            # the text is read again from its begin on: its tokens say what rows continue
            parents = continued_rows(self.ids, reading.ids[:, : self.reached].cpu().long())
        texts = beam_texts(rows, self.reached)
        if texts is not None and self.ids is not None and self.ids.shape == texts.shape:
            parents = continued_rows(self.ids, texts)
        self._keys = None
        self.parents.append(parents)
        if parents is not None:
            self._sort(parents)
        stretch = follow(reading, self.reached, self.ids)
        self._take(reading, stretch)
        self.reached = stretch.stop
        return stretch

    def end(self, cache: Any) -> None:
        """Note what a cache holds at the end of a forward, to see whether its rows are sorted."""
        self._keys = cached_keys(cache)
        self.length = self.reached

    @property
    def is_sorted(self) -> bool:
        """Whether rows took each other's places."""
        return any(parents is not None for parents in self.parents)

    def invalid(self, stretch: Stretch) -> Tensor | None:
        """Return which positions of a stretch are padding, (row, position); None if none is."""
        if self.padding is None:
            return None
        padding = self.padding[:, stretch.start : stretch.stop]
        return padding if bool(padding.any()) else None

    def ancestors(self) -> list[list[int] | None]:
        """Return, of each forward, which row the last forward's rows come from; None if its own."""
        rows = 0 if self.padding is None else len(self.padding)
        own = list(range(rows))
        current, result = own, []
        for parents in reversed(self.parents):
            result.append(None if current == own else list(current))
            if parents is not None:
                current = [parents[row] for row in current]
        return result[::-1]

    def _sort(self, parents: Sequence[int]) -> None:
        rows = torch.tensor(parents)
        for name in ("ids", "padding", "_finished"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[rows])

    def _take(self, reading: Reading, stretch: Stretch) -> None:
        padding = torch.zeros(reading.rows, stretch.stop, dtype=torch.bool)
        if self.padding is not None:
            padding[:, : min(self.reached, stretch.stop)] = self.padding[:, : stretch.stop]
        if reading.padding is not None and reading.padding.shape[1] == stretch.stop:
            padding |= reading.padding.cpu()
        if self._told is not None and len(self._told) == reading.rows:
            told = self._told[:, : stretch.stop]
            padding[:, : told.shape[1]] |= told
        ids = None if reading.ids is None else reading.ids.detach().cpu().long()
        if ids is not None and self.ids is None and stretch.start:  # vectors stood before them
            self.ids = torch.full((reading.rows, stretch.start), NO_ID)
        if ids is not None and self.ids is not None:
            before = self.ids.shape[1]
            if not stretch.start:
                self.is_rewritten |= not _is_unmasked(self.ids, ids[:, :before])
            if stretch.start:
                ids = torch.cat([self.ids[:, : stretch.start], ids], 1)
            if ids.shape[1] > before:
                padding[:, before:] |= self._fills(ids[:, before:])
        self.ids, self.padding = ids, padding

    def _fills(self, written: Tensor) -> Tensor:
        """Return which rows, (row, 1), have ended and are only filled up while others go on.

        `generate` knows. Elsewhere a row has ended if it read an end, and is filled up as long as
        it reads nothing but ends and pads.
        """
        before, ended = self._finished, ended_rows(len(written))
        if before is None:
            before = torch.zeros(len(written), dtype=torch.bool)
        if ended is not None:  # the end itself is read by a row that has just ended: it is text
            fills, self._finished = before & ended, ended
            return fills[:, None]
        fills = before & torch.isin(written, self._fillers).all(1)
        if bool(fills.all()):  # nobody fills up a text that no row continues
            fills = torch.zeros_like(fills)
        self._finished = fills | torch.isin(written[:, -1], self._ends)
        return fills[:, None]


def _is_unmasked(before: Tensor, ids: Tensor) -> bool:
    """Whether tokens differ only where one and the same token, a mask, was or is written."""
    was, now = before[before != ids], ids[before != ids]
    if not len(was):
        return True
    return any(bool(((was == mask) | (now == mask)).all()) for mask in (was[0], now[0]))
