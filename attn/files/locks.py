"""Folders that one run at a time may have; nothing is written to hold one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_lock(folder: Path, *, wait: bool = False) -> Iterator[bool | None]:
    """Hold a folder until the block ends, or the process, however that happens.

    Args:
        folder: must exist.
        wait: for as long as another run holds it.

    Yields:
        Whether it is held: False if another run holds it, None if its file system has no locks.

    Raises:
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle, wait)
    finally:
        os.close(handle)


def _lock(handle: int, wait: bool) -> bool | None:
    from filelock import lock_descriptor

    try:
        return lock_descriptor(handle, blocking=wait)
    except OSError:
        return None
