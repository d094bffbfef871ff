"""What an analysis hands back: tidy tables, labelled arrays for pictures, remarks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

DIGITS = 9  # significant: enough to give every float32 back exactly
CHUNK = 2**16  # rows that are spelled at once


@dataclass(frozen=True)
class Table:
    """A tidy table: one array per column, all of one length; NaN stands for an empty cell."""

    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def write(self, path: Path) -> None:
        """Write the table as CSV: UTF-8, one header line, numbers with `DIGITS` digits."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(self.columns)
            for start in range(0, len(self), CHUNK):
                rows = slice(start, start + CHUNK)
                cells = (_cells(column[rows]) for column in self.columns.values())
                writer.writerows(zip(*cells, strict=True))


@dataclass(frozen=True)
class Result:
    """The outcome of one analysis of one trace.

    Attributes:
        tables: by path below `analysis/`.
        arrays: what `Analysis.draw` needs, by names that the two agree on.
        notes: what the reader of the results should know.
    """

    tables: Mapping[str, Table]
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _cells(column: NDArray[Any]) -> Iterator[object]:
    if not np.issubdtype(column.dtype, np.floating):
        return iter(column.tolist())
    spell: Callable[[float], str] = f"{{:.{DIGITS}g}}".format
    return ("" if isnan(number) else spell(number) for number in column.tolist())
