"""The picture cut into equal cells: how much of a word's attention falls into each.

Definitions, for the map M of a word and a cell of area 1/n²:

- mass      mean of M over the cell; probability.
- part      mean of M over the cell / n² / mean of M over the picture: the part of the word's
            attention that is in the cell, 0 to 1; all cells together have 1.
- dominant  whether no other word has a larger mass in the cell; of equal ones the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attn.analysis.compare.reading import regrid
from attn.analysis.compare.terms import Term
from attn.analysis.tables import Table, make_table
from attn.analysis.words.word_sums import Numbers
from attn.shapes import GridMaps


def cell_masses(maps: GridMaps, count: int) -> Numbers:
    """Return (word, row, column) of `count` by `count` cells, by area."""
    return regrid(maps, (count, count))


def cell_parts(masses: Numbers) -> Numbers:
    """Return the share of each word's attention that falls in each cell."""
    total = masses.sum((1, 2), keepdims=True)
    parts: Numbers = np.divide(masses, total, out=np.zeros_like(masses), where=total > 0)
    return parts


def tabulate_cells(masses: Numbers, words: Sequence[Term], indices: Sequence[int]) -> Table:
    """Lay cells out as rows, word by word, from the upper left.

    Args:
        masses: (word, row, column).
        words: of the masses, all of which count.
        indices: of the words that get rows.
    """
    dominant = (np.arange(len(words))[:, None, None] == masses.argmax(0))[list(indices)]
    masses, words = masses[list(indices)], [words[index] for index in indices]
    word, row, column = np.indices(masses.shape).reshape(3, -1)
    return make_table(
        {
            "word": np.array([term.text for term in words], object)[word],
            "occurrence": np.array([term.number for term in words])[word],
            "segment": np.array([term.segment for term in words], object)[word],
            "row": row,
            "column": column,
            "mass": masses.ravel(),
            "part": cell_parts(masses).ravel(),
            "dominant": dominant.ravel().astype(int),
        }
    )
