"""Sums over the tokens of words, and means that leave out what was not computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.schema import Token
from attn.trace.occurrences import Occurrence

if TYPE_CHECKING:
    import xarray as xr

Numbers = NDArray[np.float64]

TOGETHER = "text"
"""Stands for all text segments."""


def token_places(
    array: xr.DataArray, segment: str, words: Sequence[Occurrence], tokens: Iterable[Token]
) -> Numbers:
    """Return (key, word): 1 where a key is a token of the word in this segment, else 0.

    The column that gathers the rest of a segment, and tokens without a word, are in no word.

    Args:
        array: its axis `key` has the coordinates `segment` and `position`.
        segment: the text segment to look at, or `TOGETHER`.
        words: the words of the new axis.
        tokens: of the guidance row that the array was selected from.
    """
    owner = {
        (token.segment, token.position): token.word
        for token in tokens
        if segment in (token.segment, TOGETHER) and token.word is not None
    }
    columns = {word.index: column for column, word in enumerate(words)}
    places = np.zeros((array.sizes["key"], len(words)))
    labels = zip(array["segment"].values, array["position"].values.tolist(), strict=True)
    for key, label in enumerate(labels):
        column = columns.get(owner.get(label, -1))
        if column is not None:
            places[key, column] = 1
    return places


def sum_tokens(values: NDArray[np.floating], places: Numbers) -> Numbers:
    """Replace the last axis, of keys, by words: sums over their tokens.

    A word without tokens is NaN: nothing is known of it, which is not the same as zero.
    """
    sums = np.full((*values.shape[:-1], places.shape[1]), np.nan)
    there = places.any(axis=0)
    sums[..., there] = values.astype(np.float64) @ places[:, there]
    return sums


def mean_present(array: Numbers, axis: int) -> Numbers:
    """Return the mean of what is not NaN along an axis; NaN where nothing is."""
    present = ~np.isnan(array)
    count = present.sum(axis)
    total = np.where(present, array, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
