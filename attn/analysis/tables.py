"""Tidy tables: columns by name, written as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.files.disk import open_new
from attn.files.outside import BUFFER
from attn.files.safe_text import csv_cell

if TYPE_CHECKING:
    from pandas import DataFrame

CHUNK = 2**16
"""Rows that are spelled at once."""
NUMBER = ".9g"
"""Nine significant digits: enough to give every float32 back exactly."""

Columns = Mapping[str, Any]
"""Arrays or lists of one length by the name of their column."""
Table = dict[str, NDArray[Any]]
"""Columns of one length; texts are objects."""


def make_table(columns: Columns) -> Table:
    """Return a table of columns; NaN and None are empty cells.

    Raises:
        ValueError: the columns are not of one length.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"columns of different lengths: {', '.join(arrays)}")
    return {
        name: array.astype(object) if array.dtype.kind == "U" else array
        for name, array in arrays.items()
    }


def make_frame(columns: Columns) -> DataFrame:
    """Return a table as a data frame."""
    import pandas as pd

    # pandas' own type for texts takes no half of a surrogate pair
    series = {
        name: pd.Series(array, dtype=object) if array.dtype.kind == "O" else array
        for name, array in make_table(columns).items()
    }
    return pd.DataFrame(series, copy=False)


def count_rows(table: Columns) -> int:
    """Return the number of rows; a table has a column."""
    return sum(len(next(iter(part.values()))) for part in table_parts(table))


class Frames(Mapping[str, "DataFrame"]):
    """Tables by name as data frames, each made when it is looked at.

    Inside tables are plain columns: a collection has thousands of small ones, and pandas takes
    milliseconds for each.
    """

    def __init__(self, tables: Mapping[str, Columns]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> DataFrame:
        return make_frame(self._tables[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


class LongTable(Mapping[str, NDArray[Any]]):
    """A table of any number of rows, which are made when they are read, and not kept.

    A column that is looked at has all its rows.
    """

    def __init__(self, parts: Callable[[], Iterable[Columns]]) -> None:
        self._parts = parts

    def parts(self) -> Iterator[Table]:
        """Make the rows, some at a time."""
        return map(make_table, self._parts())

    def changed(self, change: Callable[[Columns], Columns]) -> LongTable:
        """Return the table with a change of some columns."""
        return LongTable(lambda: map(change, self._parts()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.concatenate([part[name] for part in self.parts()])

    def __contains__(self, name: object) -> bool:
        return name in next(self.parts(), {})

    def __iter__(self) -> Iterator[str]:
        return iter(next(self.parts(), {}))

    def __len__(self) -> int:
        return len(next(self.parts(), {}))


def table_parts(table: Columns | DataFrame) -> Iterator[Columns | DataFrame]:
    """Return the rows of a table some at a time; a short table is one part."""
    return table.parts() if isinstance(table, LongTable) else iter([table])


def first_rows(table: Columns, count: int) -> Table:
    """Return so many rows of a table, or all that it has; there must be one."""
    if not isinstance(table, LongTable):
        return make_table({name: column[:count] for name, column in table.items()})
    parts: list[Columns] = []
    missing = count
    for part in table_parts(table):
        parts.append({name: np.asarray(column[:missing]) for name, column in part.items()})
        missing -= count_rows(parts[-1])
        if missing <= 0:
            break
    return stack_tables(parts)


def join_tables(tables: Sequence[Columns]) -> Columns:
    """Return tables of the same columns below each other, long ones without reading them."""
    if not any(isinstance(table, LongTable) for table in tables):
        return stack_tables(tables)
    return LongTable(lambda: chain.from_iterable(map(table_parts, tables)))


def stack_tables(tables: Iterable[Columns], by: Sequence[str] = ()) -> Table:
    """Return tables of the same columns below each other; there must be one.

    Args:
        tables: in the order of their rows.
        by: columns whose equal values are then brought together, the first name first; values are
            in the order in which they first appear.
    """
    parts = list(tables)
    if len(parts) == 1 and not by:
        return make_table(parts[0])
    columns = {
        name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]
    }
    if by:
        order = np.lexsort([_codes(columns[name]) for name in reversed(by)])
        columns = {name: column[order] for name, column in columns.items()}
    return make_table(columns)


def _codes(column: NDArray[Any]) -> NDArray[np.int64]:
    """Number equal values alike, in the order in which they first appear."""
    values = column.tolist()
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], np.int64)


def label_table(table: Columns, **labels: object) -> Columns:
    """Return the columns of a table, with columns of one value each before them."""
    columns = dict(table.items())
    count = count_rows(columns)
    return {name: np.full(count, value, object) for name, value in labels.items()} | columns


def with_layer_names(table: Columns, names: Mapping[int, str]) -> Table:
    """Return a table with a column `layer_name` behind its column `layer`, if it has that.

    What is no layer's index there, such as `mean`, is its own name. Of a long table it is called
    with its parts, see `LongTable.changed`.
    """
    if "layer" not in table or "layer_name" in table:
        return make_table(table)
    columns = {}
    for name, column in table.items():
        columns[name] = column
        if name == "layer":
            called = [names.get(layer, str(layer)) for layer in column]
            columns["layer_name"] = np.array(called, object)
    return make_table(columns)


def write_table(table: Columns | DataFrame, path: Path) -> None:
    """Write a table as CSV: UTF-8, one header line."""
    with open_new(path) as stream:
        stream.write(_spell_header(table).encode())
        stream.writelines(rows.encode() for rows in _spell_rows(table))


def append_table(table: Columns | DataFrame, path: Path) -> None:
    """Add rows to a file of the same columns; a new one gets the header line.

    By the csv module, for the same reason as `Frames`.
    """
    with path.open("ab", BUFFER) as stream:
        if not stream.tell():
            stream.write(_spell_header(table).encode())
        stream.writelines(rows.encode() for rows in _spell_rows(table))


def append_spelled(header: str, rows: str, path: Path) -> None:
    """Add rows that are spelled already, as `append_table` does."""
    with path.open("ab", BUFFER) as stream:
        if not stream.tell():
            stream.write(header.encode())
        stream.write(rows.encode())


def spell_table(table: Columns | DataFrame) -> tuple[str, str]:
    """Return the header line and the rows of a table as `append_table` writes them."""
    return _spell_header(table), "".join(_spell_rows(table))


def _spell_header(table: Columns | DataFrame) -> str:
    return _spell([map(csv_cell, table)])


def _spell_rows(table: Columns | DataFrame) -> Iterator[str]:
    """Yield the rows as they are written, some at a time."""
    for part in table_parts(table):
        columns = [np.asarray(column) for _, column in part.items()]
        for start in range(0, len(columns[0]), CHUNK):
            cells = [_cells(column[start : start + CHUNK]) for column in columns]
            yield _spell(zip(*cells, strict=True))


def _spell(rows: Iterable[Iterable[object]]) -> str:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cells(column: np.ndarray) -> Sequence[object]:
    """Spell a column: nothing for NaN and None, no formulas."""
    cells = column.tolist()
    if column.dtype.kind == "f":
        return ["" if cell != cell else format(cell, NUMBER) for cell in cells]  # noqa: PLR0124
    if column.dtype.kind in "biu":
        return list(cells)
    texts = {cell: _cell(cell) for cell in {cell for cell in cells if type(cell) is str}}
    return [texts[cell] if type(cell) is str else _cell(cell) for cell in cells]


def _cell(cell: object) -> object:
    return "" if cell is None or str(cell) == "nan" else csv_cell(cell)
