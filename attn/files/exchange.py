"""Put a folder in place of another, with one of them whole at any moment."""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import shutil
import stat
from pathlib import Path

NEW, PART, WHOLE, EARLIER = "new", "part", "whole", "earlier"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


def put(built: Path, goal: Path) -> None:
    """Put results where they belong; at any moment either the earlier or the new ones are whole."""
    try:
        built.rename(goal)  # nothing is there, or an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        whole = built.rename(built.with_name(WHOLE))
        if not _exchange(whole, goal):
            goal.rename(whole.with_name(EARLIER))
            whole.rename(goal)


def _exchange(first: Path, other: Path) -> bool:
    """Exchange two folders in one step; say whether that could be done."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)  # glibc of Linux has it
    if rename is None:
        return False
    paths = os.fsencode(first), os.fsencode(other)
    return bool(rename(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)


def is_real_folder(path: Path) -> bool:
    """Whether a path is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def link(source: Path, copy: Path) -> None:
    """Let a file, a link or an empty folder have another name; a copy where links cannot be."""
    if is_real_folder(source):
        copy.mkdir()
        return
    try:
        os.link(source, copy, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, copy, follow_symlinks=False)


def is_same(first: Path, other: Path) -> bool:
    """Whether two paths are one file or link, or a copy of it."""
    try:
        if os.path.samestat(first.lstat(), other.lstat()):
            return True
        kinds = {stat.S_IFMT(path.lstat().st_mode) for path in (first, other)}
        if kinds == {stat.S_IFLNK}:
            return first.readlink() == other.readlink()
        return kinds == {stat.S_IFREG} and filecmp.cmp(first, other, shallow=False)
    except OSError:
        return False
