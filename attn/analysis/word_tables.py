"""The two tables of `words`: every layer, step and head; and one line per word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.pool import Numbers, mean_present
from attn.analysis.result import Table
from attn.analysis.select import Occurrence


@dataclass(frozen=True)
class LayerWords:
    """The words of one segment in one layer.

    Attributes:
        layer: its index.
        mass: (word, head, step, sample); head 0 is the mean over heads, single heads may follow.
        share: (word, step, sample); a ratio of means over heads, so single heads have none.
    """

    layer: int
    mass: Numbers
    share: Numbers


@dataclass(frozen=True)
class SegmentWords:
    """The words of one segment; `tokens` counts the tokens of each word in it."""

    segment: str
    branch: str
    words: Sequence[Occurrence]
    tokens: NDArray[np.int64]
    steps: Sequence[int]
    layers: list[LayerWords]


def tabulate(measured: SegmentWords) -> Table:
    """Lay out every number as rows, ordered by word, layer, head, step, sample.

    Words without a token in the segment have no rows. Rows of single heads have no share.
    """
    blocks = [_rows(measured, layer) for layer in measured.layers]
    order = np.argsort(np.concatenate([block.pop("index") for block in blocks]), kind="stable")
    columns = {}
    for name in list(blocks[0]):  # one column after the other, so that only one is there twice
        columns[name] = np.concatenate([block.pop(name) for block in blocks])[order]
    return Table(columns)


def summarise(measured: SegmentWords, maps: Numbers | None) -> Table:
    """Return one row per word and sample.

    Mass and share are means over steps in each layer, then over layers, so that layers count
    equally whatever their number of heads or steps. Peaks are where the word's map is largest, on
    the map's grid from the upper left, the first of equals; empty without maps.

    Args:
        measured: the words.
        maps: (sample, word, row, column), or None.
    """
    mass = _over_layers([layer.mass[:, 0] for layer in measured.layers])
    share = _over_layers([layer.share for layer in measured.layers])
    count, samples = mass.shape
    word, sample = np.indices(mass.shape).reshape(2, -1)
    row, column = _peaks(maps) if maps is not None else np.full((2, samples, count), np.nan)
    return Table(
        {
            "word": _texts(measured.words)[word],
            "occurrence": _numbers(measured.words)[word],
            "segment": np.full(word.size, measured.segment, object),
            "sample": sample,
            "mass": mass.ravel(),
            "share": share.ravel(),
            "peak_row": row.T.ravel(),
            "peak_column": column.T.ravel(),
            "tokens": measured.tokens[word],
        }
    )


def _rows(measured: SegmentWords, layer: LayerWords) -> dict[str, NDArray[Any]]:
    """Lay out one layer; `index` is the word's place, to sort by."""
    present = np.flatnonzero(measured.tokens)
    mass, share = layer.mass[present], np.full_like(layer.mass[present], np.nan)
    share[:, 0] = layer.share[present]
    place, head, step, sample = np.indices(mass.shape).reshape(4, -1)
    word = present[place]
    heads = np.array(["mean", *map(str, range(mass.shape[1] - 1))], object)
    return {
        "index": word,
        "word": _texts(measured.words)[word],
        "occurrence": _numbers(measured.words)[word],
        "segment": np.full(word.size, measured.segment, object),
        "layer": np.full(word.size, layer.layer),
        "head": heads[head],
        "step": np.asarray(measured.steps)[step],
        "branch": np.full(word.size, measured.branch, object),
        "sample": sample,
        "mass": mass.ravel(),
        "share": share.ravel(),
    }


def _over_layers(layers: Sequence[Numbers]) -> Numbers:
    """Return (word, sample) of arrays (word, step, sample)."""
    return mean_present(np.stack([mean_present(layer, axis=1) for layer in layers]), axis=0)


def _peaks(maps: Numbers) -> NDArray[np.float64]:
    """Return row and column, each (sample, word), of the largest value; NaN where there is none."""
    flat = maps.reshape(*maps.shape[:2], -1)
    known = ~np.isnan(flat).all(axis=2)
    best = np.where(np.isnan(flat), -np.inf, flat).argmax(axis=2)
    return np.where(known, np.stack(np.divmod(best, maps.shape[3])).astype(float), np.nan)


def _texts(words: Sequence[Occurrence]) -> NDArray[np.object_]:
    return np.array(
        [word.text for word in words], object
    )  # a table repeats them: shared, not copied


def _numbers(words: Sequence[Occurrence]) -> NDArray[np.int64]:
    return np.array([word.number for word in words])
