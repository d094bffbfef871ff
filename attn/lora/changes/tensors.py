"""Read tensors of a safetensors file as float64, without torch and a bounded part at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from attn.checkpoints.headers import TensorInfo
from attn.errors import ModelError
from attn.files.outside import unread

Values = NDArray[np.float64]

CHUNK = 2**20  # elements at a time: 8 MB
LARGEST = 2**24  # elements of a tensor that is read at once: 128 MB


class SizeError(ModelError):
    """A tensor that no LoRA has, and that would only fill the memory."""


_TYPES: dict[str, Any] = {
    "BOOL": np.uint8, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16,
    "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
"""By the format's names. Complex numbers and the packed 4 and 6 bits are left out."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    path: Path
    info: TensorInfo

    @property
    def columns(self) -> int:
        """Elements in a row, which is all that belongs to one index of the first axis."""
        return math.prod(self.info.shape[1:])

    def read(self) -> Values:
        """Return the whole tensor.

        Raises:
            SizeError: it has more than `LARGEST` elements.
        """
        if self.info.elements > LARGEST:
            shape = list(self.info.shape)
            most = f"at most {LARGEST} numbers are read at once"
            raise SizeError(f"needs all of a tensor of shape {shape}; {most}")
        flat = _read(self, 0, self.info.elements)
        return flat.reshape(self.info.shape)

    def rows(self) -> Iterator[Values]:
        """Yield blocks of rows, in order; together they are the tensor as a matrix."""
        columns = max(self.columns, 1)
        step = max(CHUNK // columns, 1) * columns
        for start in range(0, self.info.elements, step):
            count = min(step, self.info.elements - start)
            yield _read(self, start, count).reshape(-1, columns)

    def slice(self, start: int, stop: int) -> Stored:
        """Return some of its rows as a tensor of their own; a row must be whole bytes."""
        info = self.info
        width = (info.stop - info.start) // info.shape[0]
        span = info.start + start * width, info.start + stop * width
        return Stored(self.path, TensorInfo(info.dtype, (stop - start, *info.shape[1:]), *span))


Parts = Mapping[str, Stored]
"""The tensors of a module by role."""


def flat(values: Values) -> Values:
    """Return a tensor as a matrix: its first axis, and all others in one."""
    return values.reshape(len(values), -1)


def is_readable(info: TensorInfo) -> bool:
    """Whether its numbers are of a type that can be read."""
    return info.dtype in _TYPES


def square(values: Values) -> float:
    """Return the sum of squares."""
    flat = values.reshape(-1)
    return float(flat @ flat)


def hashes(path: Path, start: int) -> tuple[str, str]:
    """Return the SHA256 of a file, and of what follows its first `start` bytes."""
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            whole.update(file.read(start))
            after = hashlib.sha256()
            while part := file.read(CHUNK):
                whole.update(part)
                after.update(part)
    except OSError as exc:
        raise ModelError(unread(path, exc)) from exc
    return whole.hexdigest(), after.hexdigest()


def _read(stored: Stored, start: int, count: int) -> Values:
    """Read some elements, counted in the order of the file."""
    kind = np.dtype(_TYPES[stored.info.dtype])
    try:
        with stored.path.open("rb") as file:
            file.seek(stored.info.start + start * kind.itemsize)
            data = file.read(count * kind.itemsize)
    except OSError as exc:
        raise ModelError(unread(stored.path, exc)) from exc
    if len(data) < count * kind.itemsize:
        raise ModelError(f"{stored.path} became shorter while it was read")
    with np.errstate(invalid="ignore"):  # NaN is reported, not warned of
        return np.frombuffer(data, kind).astype(np.float64)
