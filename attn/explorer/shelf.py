"""Tensors of a page, as many as fit."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import compress

import numpy as np
from safetensors.numpy import save

Tensors = dict[str, np.ndarray]
BLOCK = 2**20
"""Bytes of a file that are compressed together, as in the page's `source.js`."""
MARGIN = 1.03
"""What is foreseen of the size of something like what was measured."""


@dataclass
class Shelf:
    """Tensors by the file that will hold them, and what they take of a page.

    Attributes:
        budget: bytes of the page that they may take.
        used: bytes that they take, compressed and as text.
        files: tensors by name, by file.
    """

    budget: float
    used: float = 0
    files: dict[str, Tensors] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Bytes that are not used yet."""
        return self.budget - self.used

    def put(self, file: str, tensors: Mapping[str, np.ndarray]) -> bool:
        """Add tensors to a file if they fit; return whether they did."""
        size = packed_size(tensors)
        if size > self.left:
            return False
        self.used += size
        self.files.setdefault(file, {}).update(tensors)
        return True

    def put_spread(
        self,
        files: Sequence[str],
        load: Callable[[str], Tensors],
        most: float | None = None,
    ) -> list[str]:
        """Add what evenly spread files have, of as many as fit.

        Args:
            files: in order.
            load: returns the tensors of one.
            most: bytes that all of it may take; None is all that is left.

        Returns:
            The files whose tensors were added.
        """
        if not files:
            return []
        room = min(self.left, self.left if most is None else most)
        size = packed_size(load(files[len(files) // 2])) * MARGIN
        count = len(files) if not size else min(len(files), int(room / size))
        return [file for file in spread(files, count) if self.put(file, load(file))]


def spread(values: Sequence[str], count: int) -> list[str]:
    """Return so many of some values, evenly spread, the first and the last among them."""
    if count <= 0:
        return []
    places = np.linspace(0, len(values) - 1, count).round() if count > 1 else [len(values) // 2]
    return [values[int(place)] for place in places]


def packed_size(tensors: Mapping[str, np.ndarray]) -> float:
    """Return about how many bytes of a page tensors take."""
    sizes = [len(compress(tensor.tobytes(), 6)) for tensor in tensors.values()]
    return sum(sizes) * 4 / 3


def to_text(data: bytes) -> str:
    """Return bytes as text, a line for each block, which a page can unpack alone."""
    blocks = (data[at : at + BLOCK] for at in range(0, max(1, len(data)), BLOCK))
    return "\n".join(b64encode(gzip.compress(block, 6, mtime=0)).decode() for block in blocks)


def to_shard(tensors: Tensors) -> bytes:
    """Return a shard in memory."""
    return save({name: np.ascontiguousarray(one) for name, one in tensors.items()})
