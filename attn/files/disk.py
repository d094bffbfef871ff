"""Files that survive: written whole or not at all, on the disk before the next step begins."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from hashlib import sha256
from io import BufferedWriter, FileIO
from operator import or_
from pathlib import Path, PurePath
from threading import get_native_id
from typing import Any, BinaryIO, TypeVar

import msgspec

from attn.errors import DamagedError, TraceError
from attn.files.outside import BUFFER, DAMAGED, decode, decode_reason, open_regular, os_reason

T = TypeVar("T")

AGAIN = "The trace is damaged: capture it again, or copy it again from where it is whole."


LARGEST_JOURNAL = 2**27
"""Bytes that a journal may have: a line for each of some 500,000 traces or steps."""

_NO_CHARACTER = re.compile("[\ud800-\udfff]")

PART = re.compile(r"\.\d+\.part$")
"""How the name ends under which a file is written."""


@contextmanager
def reported(path: Path, verb: str = "write", hint: str = "") -> Iterator[None]:
    """Turn a failure of the disk into `TraceError`: which file, why, what now."""
    try:
        yield
    except OSError as exc:
        reason = os_reason(exc)
        if verb == "write" and exc.errno == errno.ENOENT:  # folders are made before
            reason += ", or another process removed it meanwhile"
        raise TraceError(f"could not {verb} {path}: {reason}. {hint}".rstrip()) from exc


def resolved(path: Path, hint: str = "") -> Path:
    """Return the absolute path without symbolic links; it need not exist.

    Raises:
        TraceError: the links lead in a circle, the name is too long, the working folder is gone.
    """
    with reported(path, "find", hint):
        try:
            return path.resolve()
        except (RuntimeError, ValueError) as exc:  # a circle; a null character
            raise TraceError(f"could not find {path}: {exc}. {hint}".rstrip()) from exc


def write_atomic(path: Path, data: bytes, hint: str = "") -> None:
    """Write a file so that it is there whole or not at all; its folder is made if missing.

    Raises:
        TraceError: the disk is full, permission is missing, …; an older file is left as it was.
    """
    with reported(path, hint=hint), replaced_file(path) as stream:
        stream.write(data)


def copy_atomic(source: Path, goal: Path, most: int, digest: str | None = None) -> None:
    """Copy a regular file as `write_atomic` writes one.

    Args:
        source: the file.
        goal: the copy.
        most: bytes that it may have.
        digest: the SHA-256 that it must have; no other file, which a link may lead to, is copied.

    Raises:
        TraceError: it cannot be read, has more, or the copy cannot be written.
        DamagedError: it has another digest.
    """
    got = sha256()
    with reported(source, "copy"), open_regular(source) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise TraceError(
                f"could not copy {source}: it has {size} bytes, expected at most {most}"
            )
        with reported(goal), replaced_file(goal) as copy:
            while part := stream.read(BUFFER):
                got.update(part)
                copy.write(part)
            if digest not in (None, got.hexdigest()):
                raise DamagedError(f"{source} has SHA-256 {got.hexdigest()}, expected {digest}")


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file, which takes the place of another if the block succeeds.

    Raises:
        OSError: the disk is full, permission is missing, ….
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{get_native_id()}.part")
    try:
        with os.fdopen(open_in_place(part, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            part.unlink()


def open_in_place(path: Path, flags: int) -> int:
    """Open a file to be written where it lies, and make it if it is missing.

    Returns:
        Its handle.

    Raises:
        OSError: it cannot be opened, or is a link or a pipe: what that leads to is not ours.
    """
    never = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")  # some systems have not all of them
    flags |= os.O_CREAT | reduce(or_, (getattr(os, name, 0) for name in never))
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as exc:
        if not path.is_symlink():
            raise
        raise OSError(errno.EINVAL, "nothing is written through a symbolic link") from exc
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "this is no regular file")
    return handle


def open_new(path: Path) -> BufferedWriter:
    """Open a file in a folder that is being built; missing folders are made.

    Raises:
        OSError: the disk is full, permission is missing, ….
    """
    try:
        file = FileIO(path, "wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(path, "wb")
    return BufferedWriter(file, BUFFER)


def remove_parts(path: Path) -> None:
    """Remove what killed calls of `write_atomic` left beside a file; its name may be `*`."""
    with reported(path.parent):
        for part in path.parent.glob(f"{path.name}.*.part"):
            if PART.search(part.name):
                part.unlink(missing_ok=True)


def append_lines(path: Path, values: Iterable[Any], hint: str = "") -> None:
    """Add to a journal, one JSON value a line, and wait until it is on the disk.

    Raises:
        TraceError: the disk is full, permission is missing, …; `read_journal` ignores half a line.
    """
    with reported(path, hint=hint):
        with os.fdopen(open_in_place(path, os.O_WRONLY | os.O_APPEND), "ab") as stream:
            stream.write(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(path.parent)


def read_journal(path: Path, kind: type[T]) -> tuple[T, ...]:
    """Return the values of a journal; a last line that was torn does not count.

    Raises:
        TraceError: it cannot be read.
        DamagedError: a line before the last is damaged, or there are far too many.
    """
    with reported(path, "read"):
        try:
            with open_regular(path) as file:
                data = file.read(LARGEST_JOURNAL + 1)
        except FileNotFoundError:
            return ()
    if len(data) > LARGEST_JOURNAL:
        raise DamagedError(f"{path} has more than {LARGEST_JOURNAL} bytes. {AGAIN}")
    lines = data.split(b"\n")[:-1]
    values: list[T] = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(decode(line, kind))
        except DAMAGED as exc:
            if number == len(lines):  # torn when the machine went down
                break
            raise DamagedError(f"{path}, line {number}: {decode_reason(exc)}. {AGAIN}") from exc
    return tuple(values)


def encode_json(value: Any) -> bytes:
    """Return JSON for people to read too; a path becomes its text."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_path), indent=1) + b"\n"


def as_utf8(text: str) -> str:
    """Return text that can be encoded: names of files may hold bytes that are no characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def json_text(value: Any, indent: int = 1) -> str:
    """Return JSON that every reader takes: names of files may hold bytes that are no characters.

    These are spelled out as in `as_utf8`; as an escape of JSON they would be half of a pair.
    """
    text = json.dumps(value, ensure_ascii=False)
    text = _NO_CHARACTER.sub(lambda match: rf"\\u{ord(match[0]):04x}", text)
    try:
        return msgspec.json.format(text, indent=indent) + "\n"
    except msgspec.DecodeError:  # NaN is no JSON, though Python takes it for some
        return json.dumps(json.loads(text), indent=indent, ensure_ascii=False) + "\n"


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write an object as `json_text` spells it; of an iterator, which becomes a list, in parts."""
    with path.open("wb", BUFFER) as stream:
        before = "{"
        for name, value in fields.items():
            stream.write(f"{before}\n {_indented(name, 1)}: ".encode())
            parts = _list_parts(value) if isinstance(value, Iterator) else [_indented(value, 1)]
            stream.writelines(part.encode() for part in parts)
            before = ","
        stream.write(b"\n}\n")


def _list_parts(values: Iterator[Any]) -> Iterator[str]:
    before = "["
    for value in values:
        yield f"{before}\n  {_indented(value, 2)}"
        before = ","
    yield "[]" if before == "[" else "\n ]"


def _indented(value: Any, depth: int) -> str:
    return json_text(value).removesuffix("\n").replace("\n", "\n" + " " * depth)


def is_there(path: Path) -> bool:
    """Whether a path exists, as far as it can be seen."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a path is a file, as far as it can be seen."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, as far as it can be seen."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _path(value: Any) -> str:
    if not isinstance(value, PurePath):
        raise NotImplementedError(f"{type(value)} has no JSON form")
    return as_utf8(str(value))
