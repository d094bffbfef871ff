"""The header of a safetensors file: what it holds, read in milliseconds and believed in nothing.

A file is 8 bytes (length of the header, little endian), the header (JSON), the tensors. Whatever
the bytes say, reading them takes bounded memory and ends in a `Header` or in a `ModelError`.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from rich import filesize

from attn.errors import ModelError
from attn.files.outside import unread
from attn.wording import cut

LARGEST = 12 * 2**20
"""Longest believable header, in bytes: forty times that of SDXL, with room for metadata."""

MOST_TENSORS = 2**15
MOST_VALUES = 2**19
"""Most names and values in a header: what it says must fit into little memory."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits per element of every dtype that the format knows."""

AGAIN = "download or copy it again"


class TensorInfo(NamedTuple):
    """One tensor of a file.

    Attributes:
        dtype: as the format names it: `F16`, `BF16`, `F8_E4M3` …
        shape: sizes of its axes; empty for a scalar.
        start: its first byte, counted from the beginning of the file.
        stop: the byte after its last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        path: the file.
        tensors: by name, in the order of their bytes.
        metadata: free text by name, such as `modelspec.title`; empty where there is none.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def read_header(path: str | Path) -> Header:
    """Read and check the header of a safetensors file; its tensors are not touched.

    Args:
        path: the file, whatever its ending; its content decides.

    Raises:
        ModelError: the file cannot be read, is of another format, cut short, or damaged.
    """
    path = Path(path)
    try:
        return _read(path)
    except _Flaw as flaw:
        raise ModelError(f"{path}: {flaw}") from flaw
    except OSError as exc:
        raise ModelError(unread(path, exc)) from exc


class _Flaw(Exception):  # noqa: N818 - a fact about the file; the public call makes it an error
    """What is wrong with a file, without its path."""


_PREAMBLE = 8  # bytes before the header


def _read(path: Path) -> Header:
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait forever
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "no regular file"
        raise _Flaw(f"this is {kind}; expected a .safetensors file")
    with path.open("rb") as file:
        head = file.read(512)
        length = _header_length(head, info.st_size)
        file.seek(_PREAMBLE)
        text = file.read(length)
    if len(text) < length:
        raise _Flaw("the file became shorter while it was read; wait until it is written")
    entries = _parse(text)
    metadata = _metadata(entries.pop("__metadata__", None))
    tensors = {name: _named_tensor(name, entry) for name, entry in entries.items()}
    return Header(path, _placed(tensors, _PREAMBLE + length, info.st_size), metadata)


def _header_length(head: bytes, size: int) -> int:
    """Return the length of the header in bytes, if this looks like a safetensors file."""
    if size == 0:
        raise _Flaw(f"the file is empty; {AGAIN}")
    if not head.strip(b"\0"):
        raise _Flaw(f"the file begins with zeros: it was never written to its end; {AGAIN}")
    length = int.from_bytes(head[:_PREAMBLE], "little")
    opening = head[_PREAMBLE:].lstrip()[:1]
    if len(head) < _PREAMBLE or not 0 < length <= LARGEST or opening not in (b"{", b""):
        _refuse_format(head, length)
    if _PREAMBLE + length > size:
        raise _Flaw(
            f"the file is cut short within its header: {filesize.decimal(size)} of at least "
            f"{filesize.decimal(_PREAMBLE + length)} are there; {AGAIN}"
        )
    return length


_PICKLED = (
    "with another ending, which could run any code when opened; convert it to .safetensors with a "
    "tool that you trust"
)
_FORMATS = {
    rb"PK\x03\x04": f"a zip archive, probably a pickled checkpoint {_PICKLED}",
    rb"\x80[\x02-\x05]": f"a pickled checkpoint {_PICKLED}",
    rb"version https://git-lfs": "a git-lfs pointer, not the file; run `git lfs pull` in the "
    "folder that was cloned, or download the file itself",
    rb"\s*<(?i:!doctype|html|head|\?xml)": "an HTML page saved under this name, mostly a login or "
    "error page; open the link in a browser and download the file itself",
    rb"\x1f\x8b|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd": "a packed archive; unpack it first",
    rb"GGUF": "a GGUF file; use the model's .safetensors file",
    rb"\x89HDF": "an HDF5 file; use the model's .safetensors file",
    rb"\x89PNG|\xff\xd8\xff|RIFF": "a picture; use the model's .safetensors file",
}
"""Beginnings of files that people take for safetensors files, and what to do about each."""


def _refuse_format(head: bytes, length: int) -> NoReturn:
    for pattern, what in _FORMATS.items():
        if re.match(pattern, head):
            raise _Flaw(f"this is {what}")
    if re.fullmatch(rb"[\s -~]+", head[:40]):
        raise _Flaw(f"this is a text file, such as a failed download leaves; {AGAIN}")
    if len(head) < _PREAMBLE:
        raise _Flaw(f"the file is cut short: only {len(head)} bytes are there; {AGAIN}")
    if 0 < length <= LARGEST:
        fact = "its header does not begin with '{'"
    else:
        fact = f"it announces a header of {length} bytes, expected 1 to {LARGEST}"
    raise _Flaw(f"this is no safetensors file, or a damaged one: {fact}; {AGAIN}")


def _parse(text: bytes) -> dict[str, Any]:
    """Return the header's entries: plain JSON without duplicates."""
    _require_plain(text)
    try:
        entries = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_int=_size,
            parse_float=_no_size,
            parse_constant=_no_size,
        )
        if isinstance(entries, dict):
            _require_text(entries)
            return entries
    except (ValueError, RecursionError) as exc:
        raise _damaged(_reason(exc)) from exc
    raise _damaged("expected an object of tensors")


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_DIGITS = 18
"""Longest number that is a size for certain: below 2**63."""
_NO_SIZE = object()
"""Stands for a number that is none: its place says what was expected there."""
_CROWDED = f"its header holds more values than any model has; {AGAIN}"


def _require_plain(text: bytes) -> None:
    """Refuse what grows: an empty list takes 30 times its text."""
    if text.count(b'"') - text.count(b'\\"') > MOST_VALUES:
        raise _Flaw(_CROWDED)
    outline = _STRING.sub(b"", text)
    if outline.count(b"{") > MOST_TENSORS + 2 or sum(map(outline.count, b"[,:")) > MOST_VALUES:
        raise _Flaw(_CROWDED)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {_shown(name)} appears twice")
    return unique


def _size(text: str) -> object:
    return int(text) if text.isdigit() and len(text) <= _DIGITS else _NO_SIZE


def _no_size(_: str) -> object:
    return _NO_SIZE


def _require_text(names: Iterable[str]) -> None:
    """Raise UnicodeEncodeError where a name has half a surrogate pair, which JSON can express."""
    for name in names:
        name.encode()


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it is no UTF-8 text" if isinstance(error, UnicodeError) else str(error)


def _damaged(fact: str) -> _Flaw:
    return _Flaw(f"its header is damaged: {fact}; {AGAIN}")


def _metadata(entry: object) -> dict[str, str]:
    if entry is None:  # the library reads null as nothing, too
        return {}
    if not isinstance(entry, dict):
        raise _damaged("__metadata__ must map names to texts")
    for name, text in entry.items():
        if not isinstance(text, str):
            raise _damaged(f"__metadata__ must map names to texts, and {_shown(name)} is none")
    try:
        _require_text(entry)
        _require_text(entry.values())
    except UnicodeEncodeError as exc:
        raise _damaged(_reason(exc)) from exc
    return entry


def _named_tensor(name: str, entry: object) -> TensorInfo:
    try:
        return _tensor(entry)
    except ValueError as exc:
        raise _damaged(f"tensor {_shown(name)}: {exc}") from exc


def _tensor(entry: object) -> TensorInfo:
    """Return one tensor, its place counted from the end of the header.

    Raises:
        ValueError: the entry contradicts the format or itself.
    """
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("expected dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        got = _shown(dtype) if isinstance(dtype, str) else "not a text"
        raise ValueError(f"its dtype is {got}; expected one of {', '.join(BITS)}")
    if not _are_naturals(shape):
        raise ValueError("its shape must be a list of sizes")
    if not _are_naturals(offsets) or len(offsets) != len(("start", "stop")):
        raise ValueError("its data_offsets must be [start, stop]")
    bits = BITS[dtype]
    for number in shape:
        bits *= number
        if bits >= 2**63:
            raise ValueError(f"its shape {_shown(shape)} is too large")
    start, stop = offsets
    if bits != 8 * (stop - start):
        expected = f"{dtype} of shape {_shown(shape)} takes {bits / 8:.15g} bytes"
        raise ValueError(f"{expected}; its data_offsets hold {stop - start}")
    return TensorInfo(dtype, tuple(shape), start, stop)


def _are_naturals(value: object) -> bool:
    """Whether this is a list of numbers; `true` is none."""
    return isinstance(value, list) and all(type(number) is int for number in value)


def _placed(tensors: dict[str, TensorInfo], base: int, size: int) -> dict[str, TensorInfo]:
    """Check that tensors cover the file without gap or overlap; count their places in the file.

    Args:
        tensors: by name; places counted from the end of the header.
        base: first byte after the header.
        size: of the file, in bytes.
    """
    placed, end = {}, base
    for name, info in sorted(tensors.items(), key=lambda item: item[1][2:]):
        start, stop = base + info.start, base + info.stop
        if start != end:
            what = "overlaps the one before it" if start < end else "leaves a gap before it"
            raise _damaged(
                f"tensor {_shown(name)} {what}: it starts at byte {start}, expected {end}"
            )
        placed[name], end = TensorInfo(info.dtype, info.shape, start, stop), stop
    if end > size:
        got, expected = filesize.decimal(size), filesize.decimal(end)
        raise _Flaw(f"the file is cut short: {got} of {expected} are there; {AGAIN}")
    if end < size:
        raise _damaged(f"the file has {size} bytes, its tensors end at {end}")
    return placed


_WIDEST = 80  # characters of a value in a message


def _shown(value: object) -> str:
    """Return a value from the file for a message, short and without control characters."""
    return cut(ascii(value), _WIDEST)
