"""Tidy tables: data frames, written as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.files.safe_text import csv_cell

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NUMBER = "%.9g"
"""Nine significant digits: enough to give every float32 back exactly."""

Columns = Mapping[str, Any]
"""Arrays or lists of one length by the name of their column."""


def make_table(columns: Columns | DataFrame) -> DataFrame:
    """Return a table of columns; NaN and None are empty cells.

    Raises:
        ValueError: the columns are not of one length.
    """
    import pandas as pd

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"columns of different lengths: {', '.join(arrays)}")
    series = {name: pd.Series(array, dtype=_dtype(array)) for name, array in arrays.items()}
    return pd.DataFrame(series, copy=False)


def stack_tables(tables: Iterable[Columns | DataFrame], by: Sequence[str] = ()) -> DataFrame:
    """Return tables of the same columns below each other; there must be one.

    Args:
        tables: in the order of their rows.
        by: columns whose equal values are then brought together, the first name first; values are
            in the order in which they first appear.
    """
    import pandas as pd

    stacked = pd.concat([make_table(table) for table in tables], ignore_index=True)
    if not by:
        return stacked
    return stacked.sort_values(
        list(by), key=lambda column: pd.factorize(column)[0], kind="stable", ignore_index=True
    )


def label_table(table: DataFrame, **labels: object) -> DataFrame:
    """Return a table with columns of one value each before its own."""
    extra = {name: np.full(len(table), value, object) for name, value in labels.items()}
    return make_table(extra | {**table})


def write_table(table: DataFrame, path: Path) -> None:
    """Write a table as CSV: UTF-8, one header line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    append_table(table, path)


def append_table(table: DataFrame, path: Path) -> None:
    """Add rows to a file of the same columns; a new one gets the header line."""
    is_new = not path.exists()
    texts = table.select_dtypes(exclude=["number", "bool"])
    safe = table.assign(**{name: _safe(column) for name, column in texts.items()})
    safe.to_csv(
        path,
        mode="a",
        header=[csv_cell(name) for name in table] if is_new else False,
        index=False,
        float_format=NUMBER,
        lineterminator="\n",
        encoding="utf-8",
    )


def _dtype(array: np.ndarray) -> np.dtype[Any]:
    """Return object for texts: pandas' own type for them takes no half of a surrogate pair."""
    return np.dtype(object) if array.dtype.kind in "OU" else array.dtype


def _safe(column: Series) -> Series:
    """Return a column of texts whose cells are no formulas; what is no text stays."""
    import pandas as pd

    return pd.Series([csv_cell(cell) for cell in column], column.index, object)
