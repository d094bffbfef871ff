"""Copies that are kept in the cache while there is room: folders of files, each used as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from shutil import disk_usage, rmtree
from time import sleep

from attn.errors import TraceError, UsageError
from attn.files.disk import reported
from attn.files.locks import folder_lock

MOST_HELD = 64
"""Copies that a process keeps others from removing, those that it used last."""
ROOM = "ATTN_REMOTE_GB"
"""The environment variable with the gigabytes that copies may have together."""
DEFAULT_GB = 20.0
HINT = "Set ATTN_CACHE to a folder that can be written."
PAUSE = 0.05
"""Seconds until a folder that is being removed is looked at again."""


class KeptCopies:
    """Folders at most two levels below another, which may have so many bytes together.

    When there is no room for one more, those that no process holds are removed, the ones that were
    used longest ago first.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        """Begin to count.

        Args:
            folder: that they are in.
            mark: the file that each of them has, which is written first and removed first.

        Raises:
            UsageError: the environment says no number of gigabytes.
        """
        self._folder, self._mark = folder, mark
        self._most, self._free = _read_room(), -1
        self._held: dict[Path, ExitStack] = {}

    def hold(self, folder: Path) -> None:
        """Make a folder, unless it is there, and keep other processes from removing it.

        Raises:
            TraceError: it cannot be made.
        """
        if folder not in self._held:
            with reported(folder, hint=HINT):
                self._held[folder] = _hold(folder)
        self._held[folder] = self._held.pop(folder)  # the last used stand last
        with reported(folder, hint=HINT):
            os.utime(folder)
        self._let_go(MOST_HELD)

    def require_room(self, needed: int) -> None:
        """Make room for so many bytes, of the folder that was held last.

        Raises:
            TraceError: there is none.
        """
        if needed > self._free:
            self._remove_old(needed)
        if needed > self._free:
            self._let_go(1)
            self._remove_old(needed)
        if needed > self._free:
            raise TraceError(
                f"{needed} bytes have no room in {self._folder}, where {max(0, self._free)} are "
                f"free of the {self._most} that copies may have. Set {ROOM} to more gigabytes, or "
                "ATTN_CACHE to a folder on a larger disk."
            )
        self._free -= needed

    def _let_go(self, count: int) -> None:
        for folder in list(self._held)[:-count]:
            self._held.pop(folder).close()

    def _remove_old(self, needed: int) -> None:
        """Count what is there, and remove as much of it as has to go."""
        with reported(self._folder, hint=HINT):
            copies = {mark.parent: _count_bytes(mark.parent) for mark in self._marks()}
            left = disk_usage(self._folder).free
            self._free = min(left, self._most - sum(copies.values()))
            for folder in sorted(copies, key=lambda folder: folder.stat().st_mtime):
                if self._free >= needed:
                    return
                self._free += copies[folder] if _is_removed(folder, self._mark) else 0

    def _marks(self) -> Iterator[Path]:
        for pattern in (f"*/{self._mark}", f"*/*/{self._mark}"):
            yield from self._folder.glob(pattern)


def _read_room() -> int:
    """Return the bytes that copies may have."""
    text = os.environ.get(ROOM)
    try:
        gigabytes = float(text) if text else DEFAULT_GB
        return int(gigabytes * 1e9)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{ROOM}: expected a number of gigabytes, such as 50; got '{text}'"
        ) from error


def _hold(folder: Path) -> ExitStack:
    """Share a folder from now on; one that another process is just removing is made again."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        stack = ExitStack()
        with suppress(FileNotFoundError):
            number = folder.stat().st_ino
            is_shared = stack.enter_context(folder_lock(folder, shared=True))
            if is_shared is not False and folder.stat().st_ino == number:
                return stack
        stack.close()
        sleep(PAUSE)


def _is_removed(folder: Path, mark: str) -> bool:
    """Remove a folder that nobody holds; say whether it is gone."""
    with suppress(OSError), folder_lock(folder) as is_free:
        if is_free:
            (folder / mark).unlink()
            rmtree(folder)
            return True
    return False


def _count_bytes(folder: Path) -> int:
    files = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)
