"""Any number of values, in the order in which they came, in memory that does not grow with them.

They are in a temporary file without a name, which goes with the process, however that ends.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any, Generic, TypeVar, overload

import msgspec

from attn.files.disk import reported

T = TypeVar("T")

LARGEST = 2**18
"""Bytes that stay in memory; what is more goes to the file."""
HINT = "Set TMPDIR to a folder with more room."


class Spool:
    """Bytes, one after the other."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(LARGEST, prefix="attn-")  # noqa: SIM115 - as long as this
        self._folder = Path(gettempdir())

    def append(self, data: bytes) -> int:
        """Add bytes at the end, and return where they begin.

        Raises:
            TraceError: the disk is full.
        """
        with reported(self._folder, hint=HINT):
            start = self._file.seek(0, 2)
            self._file.write(data)
        return start

    def read(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start` on."""
        with reported(self._folder, "read"):
            self._file.seek(start)
            return self._file.read(count)

    def __del__(self) -> None:
        self._file.close()


class SpooledList(Sequence[T], Generic[T]):
    """Values of one type, which is made of dataclasses, paths and what JSON has.

    Each is made when it is asked for, and takes eight bytes of memory.
    """

    def __init__(self, kind: type[T] | Any, values: Iterable[T] = ()) -> None:
        self._kind, self._file = kind, Spool()
        self._stops = array("q")
        for value in values:
            self.append(value)

    def append(self, value: T) -> None:
        """Add a value.

        Raises:
            TraceError: the disk is full.
        """
        plain = msgspec.to_builtins(value, enc_hook=str)
        data = json.dumps(plain).encode("ascii")  # takes names of files that are not UTF-8
        self._stops.append(self._file.append(data) + len(data))

    def __len__(self) -> int:
        return len(self._stops)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        numbers = range(len(self))[at]
        return self._load(numbers) if isinstance(numbers, int) else [*map(self._load, numbers)]

    def __iter__(self) -> Iterator[T]:
        return map(self._load, range(len(self)))

    def _load(self, at: int) -> T:
        start = self._stops[at - 1] if at else 0
        plain = json.loads(self._file.read(start, self._stops[at] - start))
        value: T = msgspec.convert(plain, self._kind, dec_hook=_decode)
        return value


def _decode(kind: type[Any], value: Any) -> Any:
    return kind(value)
