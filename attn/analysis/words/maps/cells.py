"""The picture cut into equal cells: how much of a word's attention falls into each.

Definitions, for the map M of a word and a cell of area 1/n²:

- mass      mean of M over the cell; probability.
- part      mean of M over the cell / n² / mean of M over the picture: the part of the word's
            attention that is in the cell, 0 to 1; all cells together have 1.
- dominant  whether the word is dominant there, as `dominance` defines it, of the cells' masses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers
from attn.analysis.tables import Table, make_table
from attn.analysis.words.maps.dominance import Named
from attn.shapes import GridMaps
from attn.trace.grids import resample_values

GRIDS = (4, 8)
"""Cells in a row and in a column of the tables and figures of cells."""


@runtime_checkable
class NumberedWord(Named, Protocol):
    """A word with its place among its equals."""

    @property
    def number(self) -> int:
        """From 1."""


def cell_masses(maps: GridMaps, count: int) -> Numbers:
    """Return (word, row, column) of `count` by `count` cells, by area."""
    return resample_values(maps, (count, count)).astype(np.float64)


def cell_parts(masses: Numbers) -> Numbers:
    """Return the share of each word's attention that falls in each cell."""
    total = masses.sum((1, 2), keepdims=True)
    parts: Numbers = np.divide(masses, total, out=np.zeros_like(masses), where=total > 0)
    return parts


def tabulate_cells(
    masses: Numbers, words: Sequence[NumberedWord], segment: str, winners: NDArray[np.int64]
) -> Table:
    """Lay cells out as rows, word by word, from the upper left.

    Args:
        masses: (word, row, column).
        words: of the masses.
        segment: which reads the words.
        winners: (row, column): the index of the word that dominates each cell.
    """
    dominant = np.arange(len(words))[:, None, None] == winners
    word, row, column = np.indices(masses.shape).reshape(3, -1)
    return make_table(
        {
            "word": np.array([entry.text for entry in words], object)[word],
            "occurrence": np.array([entry.number for entry in words])[word],
            "segment": np.full(word.size, segment, object),
            "row": row,
            "column": column,
            "mass": masses.ravel(),
            "part": cell_parts(masses).ravel(),
            "dominant": dominant.ravel().astype(int),
        }
    )
