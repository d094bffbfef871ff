"""Stamps: what changes about a file or folder when it is written, without reading it."""

from __future__ import annotations

import os
from pathlib import Path

from attn.files.disk import reported

Stamp = tuple[int, int, int]
"""Time of the last change in nanoseconds, bytes, and number on its disk: a copy has another one."""


def stamp_of(path: str) -> Stamp | None:
    """Return the stamp of a file, or of a folder: names in it count there; None where is none.

    Args:
        path: as text, since of a hundred thousand objects take longer than the disk.

    Raises:
        TraceError: it cannot be looked at.
    """
    try:
        about = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    except OSError:
        with reported(Path(path), "read"):
            raise
    return about.st_mtime_ns, about.st_size, about.st_ino
