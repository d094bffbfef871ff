"""The two tables of `words`: every layer, step and head; and one line per word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.tables import Table, make_table
from attn.analysis.words.selection import Selection
from attn.analysis.words.word_measures import LayerWords, SegmentWords
from attn.schema import Token
from attn.shapes import WordMaps
from attn.trace.words.occurrences import Occurrence


def tabulate(measured: SegmentWords, name: str = "word") -> Table:
    """Lay out every number as rows, ordered by word, layer, head, step, sample.

    Words without a token in the segment have no rows. Rows of single heads have no share. The first
    column is called `name`.
    """
    blocks = [_rows(measured, layer, name) for layer in measured.layers]
    order = np.argsort(np.concatenate([block.pop("index") for block in blocks]), kind="stable")
    columns = {}
    for column in list(blocks[0]):  # one column after the other, so that only one is there twice
        columns[column] = np.concatenate([block.pop(column) for block in blocks])[order]
    return make_table(columns)


def summarise(measured: SegmentWords, maps: WordMaps | None, name: str = "word") -> Table:
    """Return one row per word and sample.

    Mass and share are means over steps in each layer, then over layers, so that layers count
    equally whatever their number of heads or steps. Peaks are where the word's map is largest, on
    the map's grid from the upper left, the first of equals; empty without maps.

    Args:
        measured: the words.
        maps: (sample, word, row, column), or None.
        name: of the first column.
    """
    mass, share = measured.mass, measured.share
    count, samples = mass.shape
    word, sample = np.indices(mass.shape).reshape(2, -1)
    row, column = _peaks(maps) if maps is not None else np.full((2, samples, count), np.nan)
    return make_table(
        {
            name: texts(measured.words)[word],
            "occurrence": numbers(measured.words)[word],
            "segment": np.full(word.size, measured.segment, object),
            "sample": sample,
            "mass": mass.ravel(),
            "share": share.ravel(),
            "peak_row": row.T.ravel(),
            "peak_column": column.T.ravel(),
            "tokens": measured.tokens[word],
        }
    )


def align(selection: Selection) -> Table:
    """Return one row per selected word and text segment: which of its tokens are this word.

    Words and tokens are matched by their character offsets in the prompt. Positions are those of
    the guidance row's sequence, tokens are as the tokenizer writes them, both parted by spaces.
    """
    owned: dict[tuple[str, int | None], list[Token]] = {}
    for token in selection.tokens:
        owned.setdefault((token.segment, token.word), []).append(token)
    segments = list(dict.fromkeys(token.segment for token in selection.tokens))
    rows = [
        (word, segment, owned.get((segment, word.index), []))
        for word in selection.words
        for segment in segments
    ]

    def column(values: Iterable[object]) -> NDArray[np.object_]:
        return np.array(list(values), object)

    return make_table(
        {
            "word": column(word.text for word, *_ in rows),
            "occurrence": column(word.number for word, *_ in rows),
            "segment": column(segment for _, segment, _ in rows),
            "positions": column(
                " ".join(str(token.position) for token in tokens) for *_, tokens in rows
            ),
            "tokens": column(" ".join(token.text for token in tokens) for *_, tokens in rows),
        }
    )


def _rows(measured: SegmentWords, layer: LayerWords, name: str) -> dict[str, NDArray[Any]]:
    """Lay out one layer; `index` is the word's place, to sort by."""
    present = np.flatnonzero(measured.tokens)
    mass, share = layer.mass[present], np.full_like(layer.mass[present], np.nan)
    share[:, 0] = layer.share[present]
    index, head, step, sample = np.indices(mass.shape).reshape(4, -1)
    word = present[index]
    heads = np.array(["mean", *map(str, range(mass.shape[1] - 1))], object)
    return {
        "index": word,
        name: texts(measured.words)[word],
        "occurrence": numbers(measured.words)[word],
        "segment": np.full(word.size, measured.segment, object),
        "layer": np.full(word.size, layer.layer),
        "head": heads[head],
        "step": np.asarray(measured.steps)[step],
        "branch": np.full(word.size, measured.branch, object),
        "sample": sample,
        "mass": mass.ravel(),
        "share": share.ravel(),
    }


def _peaks(maps: WordMaps) -> NDArray[np.float64]:
    """Return row and column, each (sample, word), of the largest value; NaN where there is none."""
    flat = maps.reshape(*maps.shape[:2], -1)
    has_peak = ~np.isnan(flat).all(axis=2)
    best = np.where(np.isnan(flat), -np.inf, flat).argmax(axis=2)
    return np.where(has_peak, np.stack(np.divmod(best, maps.shape[3])).astype(float), np.nan)


def texts(words: Sequence[Occurrence]) -> NDArray[np.object_]:
    """Return the texts as a column; as objects, since a table repeats them."""
    return np.array([word.text for word in words], object)


def numbers(words: Sequence[Occurrence]) -> NDArray[np.int64]:
    """Return the occurrences as a column."""
    return np.array([word.number for word in words], np.int64)
