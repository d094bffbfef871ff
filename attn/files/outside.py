"""Files of others: read whole or refused, in bounded memory and time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable
from functools import cache
from io import BufferedReader, FileIO
from pathlib import Path, PureWindowsPath
from threading import Lock
from typing import Any, TypeVar, cast

import msgspec

from attn.errors import AttnError, TraceError, did_you_mean
from attn.wording import list_some

T = TypeVar("T")

LARGEST = 64 * 2**20
"""Most bytes of a file of JSON or text that is read at all."""

BUFFER = 2**16
"""Bytes of a file that are read or written at once, named so that no file is asked for them."""

LISTED = 5
"""So many names are told of what is in a folder."""

DAMAGED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, no UTF-8, or nested beyond all reason."""

_LOOKING = Lock()

_REASONS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.ENOENT: "the file or its folder does not exist",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ESTALE: "its network file system lost it (stale handle); mount that again",
}


def os_reason(error: OSError) -> str:
    """Return why the system refused something, in words."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def unread(path: Path, error: OSError) -> str:
    """Return the message that a file or folder cannot be read: why, and what to do."""
    return f"cannot read {path}: {os_reason(error)}. {_advise(path, error)}"


def _advise(path: Path, error: OSError) -> str:
    """Say what to do: of what is not there, what is near."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "Allow it to be read, or give another"
    if error.errno != errno.ENOENT:
        return "Give another, or copy it again"
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"Check the path: {path.parent} is not there either"
    near = did_you_mean(path.name, names).strip()
    folder = "the working folder" if path.parent == Path() else str(path.parent)
    return near or f"Check the path: {folder} holds {list_some(names, LISTED)}"


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file to be read; anything else is refused, and never waited for.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(path, flags)
    except ValueError as exc:  # a NUL in the name
        raise OSError(errno.EINVAL, f"its name cannot be one ({exc})", str(path)) from exc
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise OSError(errno.EINVAL, f"this is {what}; expected a regular file", str(path))
    return BufferedReader(FileIO(handle), BUFFER)


def refuse_special(path: Path, expected: str, error: type[AttnError]) -> None:
    """Refuse a pipe, socket or device, which could be waited for without an end.

    What is not there, or may not be looked at, is left to whoever opens it.

    Args:
        path: as it was typed.
        expected: what may be there, for the message.
        error: what to raise.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise error(f"{path}: this is neither a file nor a folder; expected {expected}")


def read_bytes(
    path: Path, *, limit: int = LARGEST, error: type[AttnError] = TraceError, hint: str = ""
) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: most bytes that it may have.
        error: what to raise.
        hint: what to do, the end of the message.

    Raises:
        AttnError: of the kind `error`, caused by the `OSError` if the system refused.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, limit) + 1)
    except OSError as exc:
        raise error(f"cannot read {path}: {os_reason(exc)}. {hint}".rstrip()) from exc
    if len(data) > limit:
        got = f"it has {size} bytes, expected at most {limit}"
        raise error(f"cannot read {path}: {got}. {hint}".rstrip())
    return data


def read_text(
    path: Path, *, limit: int = LARGEST, error: type[AttnError] = TraceError, hint: str = ""
) -> str:
    """Return the text of a regular file in UTF-8, without a byte order mark; see `read_bytes`."""
    data = read_bytes(path, limit=limit, error=error, hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise error(f"cannot read {path}: {decode_reason(exc)}. {hint}".rstrip()) from exc


def read_json(
    path: Path,
    kind: type[T],
    *,
    expected: str = "the JSON that belongs here",
    limit: int = LARGEST,
    error: type[AttnError] = TraceError,
    hint: str = "",
) -> T:
    """Return the value in a JSON file; fields and types are those of `kind`.

    Args:
        path: the file.
        kind: a type that msgspec decodes; `dict[str, Any]` is any object.
        expected: what the file should be, in words.
        limit: most bytes that it may have.
        error: what to raise.
        hint: what to do, the end of the message.

    Raises:
        AttnError: of the kind `error`, caused by an `OSError` or by one of `DAMAGED`.
    """
    data = read_bytes(path, limit=limit, error=error, hint=hint)
    return decode_json(path, data, kind, expected=expected, error=error, hint=hint)


def decode_json(
    path: Path,
    data: bytes,
    kind: type[T],
    *,
    expected: str = "the JSON that belongs here",
    error: type[AttnError] = TraceError,
    hint: str = "",
) -> T:
    """Return the value in the content of a JSON file; see `read_json`."""
    try:
        return decode(data, kind)
    except DAMAGED as exc:
        reason = decode_reason(exc)
        raise error(f"{path} is not {expected}: {reason}. {hint}".rstrip()) from exc


def decode(data: bytes, kind: type[T]) -> T:
    """Return the value in JSON; of several threads too.

    msgspec looks at a type when it meets it first, and must not be interrupted by another thread
    that meets it then: the process would end.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: see `DAMAGED`.
    """
    with _LOOKING:
        decoder: msgspec.json.Decoder[T] = _decoder(cast("Hashable", kind))
    return decoder.decode(data)


@cache
def _decoder(kind: Hashable) -> Any:
    return msgspec.json.Decoder(kind)


def require_inside(path: Path, name: str, error: type[AttnError] = TraceError) -> None:
    """Refuse a name that a file gives another, if it is not of something in the same folder.

    Raises:
        AttnError: it is absolute, leads out, is empty, or cannot be a name at all.
    """
    inner = PureWindowsPath(name)  # knows both kinds of slash
    if inner.anchor or ".." in inner.parts or not inner.parts or "\0" in name:
        raise error(f"{path} names {name!r}, which is outside of its folder: not read")


def decode_reason(error: Exception) -> str:
    """Return the message of a decoding error (`DAMAGED`) as plain text."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 text, as its byte 0x{error.object[error.start]:02x} shows"
    return str(error)
