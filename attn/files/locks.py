"""Folders and files that one run at a time may have; nothing is written to hold one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attn.files.disk import open_in_place

if sys.platform != "win32":
    import fcntl


@contextmanager
def folder_lock(folder: Path, *, wait: bool = False, shared: bool = False) -> Iterator[bool | None]:
    """Hold a folder until the block ends, or the process, however that happens.

    Args:
        folder: must exist.
        wait: for as long as another run holds it.
        shared: with others that share it, who keep out all who do not.

    Yields:
        Whether it is held: False if another run holds it, None if its file system has no locks.

    Raises:
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _share(handle) if shared else _lock(handle, wait)
    finally:
        os.close(handle)


@contextmanager
def file_lock(path: Path) -> Iterator[bool | None]:
    """Hold a file, as `folder_lock` does a folder; it is made if missing.

    Raises:
        OSError: the file cannot be opened.
    """
    handle = open_in_place(path, os.O_RDWR)
    try:
        yield _lock(handle, wait=False)
    finally:
        os.close(handle)


def _lock(handle: int, wait: bool) -> bool | None:
    from filelock import lock_descriptor

    try:
        return lock_descriptor(handle, blocking=wait)
    except OSError:
        return None


def _share(handle: int) -> bool | None:
    if sys.platform == "win32":  # whose folders cannot be opened
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
