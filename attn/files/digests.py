"""Digests: whether files are as they were written.

A file of JSON that is *sealed* carries its own: its last field is `sha256`, the SHA-256 of the
whole file with 64 zeros in the place of those digits.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from hashlib import file_digest, sha256
from io import BufferedRandom, BufferedReader, FileIO
from pathlib import Path
from typing import Any, TypeVar

from attn.errors import DamagedError, TraceError
from attn.files.disk import AGAIN, reported
from attn.files.outside import decode_json, open_regular, read_bytes
from attn.schema import Manifest

T = TypeVar("T")

_BLANK = b"0" * 64
_END = b'"\n}\n'
_LAST = re.compile(rb'"([^"]*)"\s*:\s*"([^"]*)"\s*}\s*\Z')
"""The last field of an object, if it is a text."""
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_TAIL = 256
"""Bytes at the end of a sealed file in which its last field lies."""


SMALL = 2**18
"""Bytes of a file that is hashed at once, without a buffer of this size being made."""

_NOT_THROUGH_LINKS = getattr(os, "O_NOFOLLOW", 0)  # some systems have it not
_READING = os.O_RDONLY | _NOT_THROUGH_LINKS
_READING |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

LARGEST_OUTPUT = 2**28
"""Most bytes of a picture or a text that is read."""


def hash_stream(stream: BufferedReader | BufferedRandom) -> str:
    """Return the SHA-256 of an open file of any size.

    Raises:
        OSError: it cannot be read.
    """
    if os.fstat(stream.fileno()).st_size <= SMALL:
        return sha256(stream.read()).hexdigest()
    return file_digest(stream, "sha256").hexdigest()


def hash_file(path: str) -> str | None:
    """Return the SHA-256 of a regular file; of anything else, links included, None.

    Thousands of small files are hashed, so each is asked for no more than it takes.

    Raises:
        OSError: it cannot be read.
    """
    if not _NOT_THROUGH_LINKS and os.path.islink(path):  # noqa: PTH114 - thousands of files
        return None
    try:
        handle = os.open(path, _READING)
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # it is a link
            return None
        raise
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            return None
        data = os.read(handle, SMALL) if about.st_size <= SMALL else b""
        if len(data) == about.st_size:
            return sha256(data).hexdigest()
        os.lseek(handle, 0, os.SEEK_SET)
        with FileIO(handle, closefd=False) as stream:
            return file_digest(stream, "sha256").hexdigest()
    finally:
        os.close(handle)


def seal(data: bytes) -> bytes:
    """Return a JSON object that is not empty, as a file has it, with its digest as last field."""
    body = data.rstrip().removesuffix(b"}").rstrip() + b',\n "sha256": "'
    digest = sha256(body + _BLANK + _END).hexdigest()
    return body + digest.encode() + _END


def is_sealed(data: bytes) -> bool:
    """Whether a file carries a digest, or did before a bit of it changed."""
    last = _last_field(data)
    return last is not None and (last[1] == b"sha256" or bool(_DIGEST.fullmatch(last[2])))


def has_seal(path: Path) -> bool:
    """Whether a file of JSON carries a digest, or did before a bit of it changed.

    Raises:
        TraceError: it cannot be read.
    """
    with reported(path, "read"), open_regular(path) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        return is_sealed(stream.read())


def require_seal(path: Path, data: bytes, hint: str = AGAIN) -> None:
    """Refuse the content of a file that is not as it was sealed; one without a digest may be.

    Raises:
        DamagedError: it is not.
    """
    last = _last_field(data)
    if last is None or not is_sealed(data):
        return
    blank = data[: last.start(2)] + _BLANK + data[last.end(2) :]
    if last[1] != b"sha256" or sha256(blank).hexdigest().encode() != last[2]:
        raise DamagedError(
            f"{path} was changed since it was written: its SHA-256 is not the one in its last "
            f"field (take that field out of a file that you edited). {hint}".rstrip()
        )


@dataclass(frozen=True)
class _Head:
    """What is read of a file before the rest is believed."""

    schema: int


def read_sealed(path: Path, kind: type[T], *, newest: int, expected: str, hint: str) -> T:
    """Return the value in a file of JSON, which must be as it was written if it is sealed.

    Args:
        path: the file.
        kind: a type that msgspec decodes, with the field `schema`.
        newest: the highest `schema` that is understood.
        expected: what the file should be, in words.
        hint: what to do, the end of a message about damage.

    Raises:
        TraceError: it cannot be read, or is of a newer schema.
        DamagedError: it is no such file, or not as it was written.
    """
    data = read_bytes(path, hint=hint)
    return decode_sealed(path, data, kind, newest=newest, expected=expected, hint=hint)


def decode_sealed(
    path: Path, data: bytes, kind: type[T], *, newest: int, expected: str, hint: str
) -> T:
    """Return the value in the content of such a file; see `read_sealed`."""
    how: dict[str, Any] = {"expected": expected, "error": DamagedError, "hint": hint}
    head = decode_json(path, data, _Head, **how)
    require_seal(path, data, hint)
    if head.schema > newest:
        raise TraceError(
            f"{path} has schema {head.schema}, this attn reads up to schema {newest}: update attn"
        )
    return decode_json(path, data, kind, **how)


def require_digest(path: Path, expected: str, hint: str = AGAIN) -> None:
    """Compare a file of any size with its SHA-256.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it is another.
    """
    with reported(path, "read", hint), open_regular(path) as stream:
        got = hash_stream(stream)
    if got != expected:
        raise DamagedError(f"{path} has SHA-256 {got}, expected {expected}. {hint}".rstrip())


def read_output(folder: Path, name: str, manifest: Manifest) -> bytes:
    """Return the content of an output of a trace, which must be as it was written.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it is another than the one that `identity` of the manifest lists.
    """
    path = folder / name
    data = read_bytes(path, limit=LARGEST_OUTPUT, hint=AGAIN)
    expected, got = output_digest(manifest, name), sha256(data).hexdigest()
    if expected not in (None, got):
        raise DamagedError(f"{path} has SHA-256 {got}, expected {expected}. {AGAIN}")
    return data


def output_digest(manifest: Manifest, name: str) -> str | None:
    """Return the SHA-256 that an output of a trace must have; None if it is an older trace."""
    listed = manifest.identity.get("outputs")
    return listed.get(name) if isinstance(listed, dict) else None


def _last_field(data: bytes) -> re.Match[bytes] | None:
    return _LAST.search(data, max(0, len(data) - _TAIL))
