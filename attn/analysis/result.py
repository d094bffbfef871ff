"""What an analysis hands back: tidy tables, labelled arrays for pictures, remarks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attn.analysis.digest import Digest
from attn.analysis.tables import Columns, Frames
from attn.files.disk import json_text, open_new
from attn.files.safe_text import csv_cell, visible

if TYPE_CHECKING:
    import xarray as xr


class Deferred(Mapping[str, "xr.DataArray"]):
    """Labelled arrays that are made when they are looked at: tables need none of them."""

    def __init__(self, makers: Mapping[str, Callable[[], xr.DataArray]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> xr.DataArray:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@runtime_checkable
class WritableFile(Protocol):
    """What can be written as one file."""

    def write(self, path: Path) -> None:
        """Write it; its folder is made if missing."""


@dataclass(frozen=True)
class Matrix:
    """A table in the shape of sd3.5-attention-analysis: a row per block, a column per word.

    Its header repeats equal words, numbers have six decimals, lines end as on Windows.

    Attributes:
        header: of every column, the first of which numbers the rows.
        rows: their numbers.
        values: (row, column).
    """

    header: tuple[str, ...]
    rows: Sequence[int]
    values: NDArray[np.float64]

    def write(self, path: Path) -> None:
        """Write it as CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(map(csv_cell, self.header))
            writer.writerows(
                [number, *(f"{value:.6f}" for value in row)]
                for number, row in zip(self.rows, self.values, strict=True)
            )


@dataclass(frozen=True)
class Document:
    """Data that is written as JSON."""

    content: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Write it indented, in UTF-8."""
        with open_new(path) as stream:
            stream.write(visible(json_text(self.content, indent=2)).encode())


@dataclass(frozen=True)
class Text:
    """Lines for people."""

    content: str

    def write(self, path: Path) -> None:
        """Write them in UTF-8."""
        with open_new(path) as stream:
            stream.write(visible(self.content).encode())


@dataclass(frozen=True)
class Archive:
    """Arrays that are written as a compressed `.npz`."""

    arrays: Mapping[str, NDArray[Any]]

    def write(self, path: Path) -> None:
        """Write it; nothing in it is pickled."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, allow_pickle=False, **self.arrays)


@dataclass(frozen=True)
class Result:
    """The outcome of one analysis of one trace.

    Attributes:
        columns: tables by path below `analysis/`.
        arrays: what `Analysis.draw` needs, by names that the two agree on.
        notes: what the reader of the results should know.
        files: what is neither a table nor a picture, by path below `analysis/`.
        digests: curves for the summary page of a collection, by a name that sorts.
    """

    columns: Mapping[str, Columns]
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, WritableFile] = field(default_factory=dict)
    digests: Mapping[str, Digest] = field(default_factory=dict)

    @property
    def tables(self) -> Frames:
        """The tables as data frames, by the same paths."""
        return Frames(self.columns)
