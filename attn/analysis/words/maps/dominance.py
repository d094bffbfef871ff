"""Which word of the prompt is ahead at each place of a picture.

Definitions, for the maps M_w of the words w that compete, at a place p:

- lift       M_w(p) / mean of M_w over the picture: how many times its usual attention a word gets
             there; 1 on average, whatever the mass of the word.
- dominant   the word of the largest lift, if that is `LEAST` or more and no other has the same;
             else no word is. With the measure `mass` it is the word of the largest M_w(p), if no
             other has the same.

Articles, prepositions and the like do not compete unless they are named, or there are no others.
Special tokens are no words. A word of large mass everywhere, which by mass wins the whole picture,
has a lift of 1 everywhere and wins nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attn.shapes import GridMaps, WordMaps
from attn.words import fold, is_content

Dominance = Literal["lift", "mass"]

LEAST = 1.2
"""From this lift on a word can dominate; noise alone reaches less on smooth maps."""
NO_WORD = -1
"""Stands for places at which no word is ahead."""
SAME = 1e-6
"""Values that differ by less than this part of them are the same: maps come in single precision."""


@runtime_checkable
class Named(Protocol):
    """What competes: a word or a term with its text."""

    @property
    def text(self) -> str:
        """As it is written in the prompt."""


def rivals(words: Sequence[Named], names: Sequence[str] | None = None) -> list[int]:
    """Return the indices of the words that compete.

    Args:
        words: of the prompt.
        names: only these; None is all but stop-words, or all where there are no others.
    """
    if names is not None:
        wanted = {fold(name) for name in names}
        return [index for index, word in enumerate(words) if fold(word.text) in wanted]
    content = [index for index, word in enumerate(words) if is_content(word.text)]
    return content or list(range(len(words)))


def lift(maps: GridMaps) -> GridMaps:
    """Return each map divided by its mean over the picture; zeros stay zeros, NaN stays NaN."""
    mean = maps.mean(axis=(-2, -1), keepdims=True)
    nothing = np.where(np.isnan(maps), np.nan, 0.0)
    return np.asarray(np.divide(maps, mean, out=nothing, where=mean > 0))


def dominance(
    maps: WordMaps, among: Sequence[int], measure: Dominance = "lift"
) -> NDArray[np.int64]:
    """Return (sample, row, column): the index of the dominant word, or `NO_WORD`.

    Args:
        maps: (sample, word, row, column); those of NaN take no part.
        among: indices of the words that compete.
        measure: what of them is compared.
    """
    if not len(among):
        return np.full((maps.shape[0], *maps.shape[2:]), NO_WORD)
    compared = maps[:, list(among)]
    values = np.nan_to_num(lift(compared) if measure == "lift" else compared, nan=-1.0)
    order = np.sort(values, axis=1)
    first = order[:, -1]
    second = order[:, -2] if len(among) > 1 else np.full_like(first, -1.0)
    is_ahead = (first > 0) & (first - second > SAME * first)
    if measure == "lift":
        is_ahead &= first >= LEAST
    winners = np.asarray(among)[values.argmax(axis=1)]
    return np.asarray(np.where(is_ahead, winners, NO_WORD))
