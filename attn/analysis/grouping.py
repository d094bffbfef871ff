"""Rows of small tables by what they have in common, without a data frame for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.tables import Columns, Table

Row = dict[str, Any]


def table_rows(table: Columns) -> list[Row]:
    """Return the rows of a table, each by the names of its columns."""
    columns = [np.asarray(column).tolist() for column in table.values()]
    return [dict(zip(table, cells, strict=True)) for cells in zip(*columns, strict=True)]


def matching(table: Columns, **cells: object) -> Table:
    """Return the rows that have these cells."""
    columns = {name: np.asarray(column) for name, column in table.items()}
    at = np.ones(len(next(iter(columns.values()))), bool)
    for name, cell in cells.items():
        at &= np.array([value == cell for value in columns[name].tolist()], bool)
    return {name: column[at] for name, column in columns.items()}


def group_means(table: Columns, keys: Sequence[str], values: Sequence[str]) -> list[Row]:
    """Return the mean of values over the rows of equal keys; missing values do not count.

    Args:
        table: of the rows.
        keys: columns whose cells a group shares.
        values: columns of numbers.

    Returns:
        A row for each group, in the order in which groups first appear; NaN where none has a value.
    """
    groups, codes = _group(table, keys)
    means: dict[str, list[float]] = {}
    for name in values:
        numbers = np.asarray(table[name], np.float64)
        there = ~np.isnan(numbers)
        counts = np.bincount(codes[there], minlength=len(groups))
        sums = np.bincount(codes[there], numbers[there], len(groups))
        mean = np.divide(sums, counts, out=np.full(len(groups), np.nan), where=counts > 0)
        means[name] = mean.tolist()
    names = (*keys, *values)
    rows = zip(groups, *means.values(), strict=True)
    return [dict(zip(names, (*group, *row), strict=True)) for group, *row in rows]


def group_sums(table: Columns, key: str, value: str) -> dict[Any, float]:
    """Return the sum of a column over the rows of equal keys; missing values count as 0."""
    groups, codes = _group(table, [key])
    sums = np.bincount(codes, np.nan_to_num(np.asarray(table[value], np.float64)), len(groups))
    return {group: float(total) for (group,), total in zip(groups, sums, strict=True)}


def largest_first(rows: Iterable[Row], name: str) -> list[Row]:
    """Order rows by a number, those that have none last; equal ones keep their order."""
    return sorted(rows, key=lambda row: (np.isnan(row[name]), -row[name]))


def _group(table: Columns, keys: Sequence[str]) -> tuple[list[tuple[Any, ...]], NDArray[np.int64]]:
    """Return the groups, and the number of that of each row."""
    cells = list(zip(*(np.asarray(table[name]).tolist() for name in keys), strict=True))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(cells))}
    return list(numbers), np.array([numbers[group] for group in cells], np.int64)
