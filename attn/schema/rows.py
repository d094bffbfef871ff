"""Where the positions of a layer are in the rows of a batch whose sequences differ in length."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from attn.schema.layout import Segment

Lengths = tuple[tuple[str, int], ...]
"""How many positions of some segments a row has; see `Call.lengths`."""
ABSENT = -1
"""The position of what a row does not have."""


class RowLayout(NamedTuple):
    """One side of a layer, queries or keys, in one row of a batch.

    Attributes:
        positions: of the row, for each of the layer's; `ABSENT` where the row has none.
        length: of the row, what fills it up included.
    """

    positions: tuple[int, ...]
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether the row is laid out just as the layer is, with nothing that fills it up."""
        return self.positions == tuple(range(self.length))


@lru_cache(256)
def place(segments: tuple[Segment, ...], rows: tuple[Lengths, ...], row: int) -> RowLayout:
    """Lay the segments of a layer out in one row of a batch.

    Args:
        segments: of one side of the layer, from position 0 on, without gaps.
        rows: of every row of the batch.
        row: which of them.
    """
    named = [at for at, segment in enumerate(segments) if segment.name in dict(rows[row])]
    widest = max(_length(segments, lengths) for lengths in rows)
    filling = widest - _length(segments, rows[row])
    positions: list[int] = []
    begin = 0
    for at, segment in enumerate(segments):
        count = dict(rows[row]).get(segment.name, segment.length)
        positions += range(begin, begin + count)
        positions += [ABSENT] * (segment.length - count)
        begin += count + (filling if named and at == named[-1] else 0)
    return RowLayout(tuple(positions), begin)


def _length(segments: tuple[Segment, ...], lengths: Lengths) -> int:
    counts = dict(lengths)
    return sum(counts.get(segment.name, segment.length) for segment in segments)
