"""What the summary page of a collection shows of its traces: curves, kept as plain numbers."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attn.files.spool import Spool

BLOCK = 2**12
"""Bytes of a series that stay in memory."""


@dataclass(frozen=True)
class Digest:
    """Curves of one trace.

    Attributes:
        series: (x,) by name.
        axis: what x is.
        x: indices of the steps or layers.
        title: of the plot.
        unit: of the values.
        noise: of every step, NaN where the sampler does not say it; nothing of layers.
        absent: value of a series in traces that lack it; None if nothing is known of it there.
        names: of layers, by index.
        is_of_prompt: whether the series are words, which traces of one prompt have in common.
    """

    series: Mapping[str, NDArray[np.float64]]
    axis: Literal["step", "layer"]
    x: tuple[int, ...]
    title: str
    unit: str
    noise: tuple[float, ...] = ()
    absent: float | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    is_of_prompt: bool = False


class Gathered:
    """The curves of many traces; their numbers are in a file, as far as they are many.

    Attributes:
        first: of the first trace; those that differ from it in x are only counted.
        alike: number of traces that have its x.
        others: number of those that do not.
    """

    def __init__(self, first: Digest) -> None:
        self.first = first
        self.alike = self.others = 0
        self._file = Spool()
        self._rows: dict[str, array[float]] = {}
        self._blocks: dict[str, list[int]] = {}

    def add(self, digest: Digest) -> None:
        """Take the curves of one trace."""
        if digest.x != self.first.x:
            self.others += 1
            return
        for name in digest.series:
            if name not in self._rows:
                self._rows[name], self._blocks[name] = array("f"), []
                self._fill(name, self.alike)
        for name in self._rows:
            if name in digest.series:
                self._extend(name, digest.series[name].astype(np.float32).tobytes())
            else:
                self._fill(name, 1)
        self.alike += 1

    @property
    def series(self) -> Sequence[str]:
        """Names of the curves."""
        return tuple(self._rows)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return (trace, x) of the traces in which the value of a series is known."""
        blocks = [self._file.read(start, BLOCK) for start in self._blocks[name]]
        data = b"".join([*blocks, self._rows[name].tobytes()])
        rows = np.frombuffer(data, np.float32).reshape(-1, len(self.first.x))
        return rows.astype(np.float64)

    def _extend(self, name: str, data: bytes) -> None:
        """Add numbers to a series; what fills a block goes to the file."""
        rows = self._rows[name]
        rows.frombytes(data)
        full = rows.tobytes() if rows.itemsize * len(rows) >= BLOCK else b""
        whole = len(full) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self._blocks[name].append(self._file.append(full[start : start + BLOCK]))
        if whole:
            self._rows[name] = array("f", full[whole:])

    def _fill(self, name: str, traces: int) -> None:
        """Note that some traces lack a series."""
        if self.first.absent is not None:
            numbers = array("f", [self.first.absent]) * (traces * len(self.first.x))
            self._extend(name, numbers.tobytes())
