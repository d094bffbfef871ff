"""Folders of results, put in place by one rename; nothing that others made is ever removed.

A folder of results has a marker, which lists its files with their SHA-256: what it lists, and what
is as it was written, is ours, and everything else in the folder is not. Results are built in a
temporary folder beside their goal, which has a marker too, and which its process holds locked:

    .attn-scratch-XXXXXXXX/new/      results that are being built
    .attn-scratch-XXXXXXXX/whole/    results that are complete but not in place, new or earlier ones
    .attn-scratch-XXXXXXXX/earlier/  those that were in place, where folders cannot be exchanged

What is not ours is linked into the new results before they are put in place, so it is never gone.
Every run settles its temporary folder at its end, and before it begins those that killed runs left.
"""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from attn.errors import AnalysisError, TraceError
from attn.files.disk import reported, resolved
from attn.files.locks import folder_lock
from attn.files.markers import MARKER, digests, entries, is_marked, ours, read_marker, write_marker
from attn.files.outside import read_json

COMPARISON = "comparison.json"
"""The file that tells what a folder of results of a comparison holds."""
PREFIX = ".attn-scratch-"
SCRATCH = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}")
"""Names of temporary folders, as `mkdtemp` makes them."""
NEW, WHOLE, EARLIER = "new", "whole", "earlier"
HINT = "Choose another folder with --out."
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


@contextmanager
def replaced(
    folder: Path, command: str, index: str, note: Callable[[str], None] | None = None
) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` if the block succeeds.

    If it fails, or is killed, what was in `folder` stays as it was. What others put into the
    earlier results is in the new ones too. Results of an earlier attn, which have no marker, are
    kept as `NAME-earlier-1`.

    Args:
        folder: of the results.
        command: whose results they are.
        index: file that such results always have.
        note: told if earlier results are kept.

    Raises:
        AnalysisError: `folder` holds something else, or something of the same name as a result.
        TraceError: the disk is full, permission is missing, ….
    """
    refuse_others(folder, command, index)
    goal = resolved(folder)
    with reported(folder, hint=HINT), scratch(goal) as built:
        built.mkdir()
        yield built
        write_marker(built, command=command, files=digests(built))
        if _is_unmarked(goal, index):
            kept = _keep(goal)
            if note is not None:
                note(f"{folder} held results of an attn that did not mark its files: see {kept}")
        elif goal.is_dir():
            _link_others(goal, built)
            shutil.copymode(goal, built)
        _put(built, goal)


@contextmanager
def scratch(goal: Path) -> Iterator[Path]:
    """Yield a path near `goal`: a folder made there is renamed to it, or removed at the end.

    Raises:
        OSError: the disk is full, permission is missing, ….
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    sweep(goal.parent)
    with ExitStack() as lock:
        workspace = _make_scratch(goal, lock)
        try:
            yield workspace / NEW
        finally:
            with suppress(OSError):  # else the next run does it
                _settle(workspace)


def withdraw(folder: Path, command: str, index: str) -> None:
    """Take results away; what others put into the folder stays.

    Raises:
        TraceError: the disk is full, permission is missing, ….
    """
    goal = resolved(folder)
    marker = read_marker(goal)
    is_ours = marker is not None and marker.command == command
    if not is_ours and not _is_unmarked(goal, index):
        return
    with replaced(folder, command, index):
        pass
    with reported(folder, "remove"):
        if [path.name for path in goal.iterdir()] == [MARKER]:
            (goal / MARKER).unlink()
            goal.rmdir()


def sweep(folder: Path) -> None:
    """Settle what killed runs left in a folder; what still runs, and what is not ours, stays."""
    with suppress(OSError):  # there may be no such folder
        for workspace in filter(_is_scratch, folder.glob(f"{PREFIX}*")):
            _settle_left(workspace)


def is_debris(path: Path) -> bool:
    """Whether something is a temporary folder of ours."""
    return _is_scratch(path) and (is_marked(path) or not any(path.iterdir()) or _is_torn(path))


def refuse_others(folder: Path, command: str, index: str) -> None:
    """Refuse a folder for results that holds something else than results of this command.

    Args:
        folder: may be missing.
        command: whose results it is for.
        index: file that such results always have.

    Raises:
        AnalysisError: says what it holds.
        TraceError: it cannot be looked at.
    """
    goal = resolved(folder)
    with reported(folder, "read", HINT):
        if not os.path.lexists(goal):
            return
        is_folder = goal.is_dir()
        is_empty = is_folder and not any(goal.iterdir())
    marker = read_marker(goal)
    if not is_folder:
        raise AnalysisError(f"{folder} is a file: it is not replaced; choose another with --out")
    if marker is not None and marker.command != command:
        raise AnalysisError(
            f"{folder} holds results of `attn {marker.command}`: it is not replaced; choose "
            "another with --out"
        )
    if marker is None and not is_empty and not _is_unmarked(goal, index):
        raise AnalysisError(
            f"{folder} is no folder of results of `attn {command}`, and not empty: it is not "
            "replaced; choose another with --out"
        )


def _make_scratch(goal: Path, lock: ExitStack) -> Path:
    """Make a temporary folder that `lock` holds."""
    while True:
        workspace = Path(mkdtemp(prefix=PREFIX, dir=goal.parent))
        try:
            lock.enter_context(folder_lock(workspace, wait=True))
            write_marker(workspace, goal=goal.name)
        except FileNotFoundError:  # another run took it for one that was left
            lock.close()
        else:
            return workspace


def _is_scratch(path: Path) -> bool:
    """Whether something could be a temporary folder of ours by its name."""
    return SCRATCH.fullmatch(path.name) is not None and _is_folder(path)


def _settle_left(workspace: Path) -> None:
    """Settle a temporary folder if its run is no more."""
    with suppress(OSError), folder_lock(workspace) as is_left:
        if is_left:
            _settle(workspace)


def _settle(workspace: Path) -> None:
    """Bring back what is whole if nothing is in its place, and remove the rest of what is ours."""
    marker = read_marker(workspace)
    if marker is not None:
        goal = workspace.with_name(marker.goal)
        for left in (workspace / EARLIER, workspace / WHOLE):
            if _is_folder(left) and not os.path.lexists(goal):
                left.rename(goal)
            elif _is_folder(left) and _is_folder(goal):
                _discard(left, goal)
        if _is_folder(workspace / NEW):
            shutil.rmtree(workspace / NEW)
    if marker is not None or _is_torn(workspace):
        (workspace / MARKER).unlink()
    workspace.rmdir()


def _is_torn(workspace: Path) -> bool:
    """Whether a run was killed while it marked its temporary folder."""
    names = [path.name for path in workspace.iterdir()]
    about = (workspace / MARKER).lstat() if names == [MARKER] else None
    return about is not None and stat.S_ISREG(about.st_mode) and not about.st_size


def _discard(left: Path, goal: Path) -> None:
    """Remove results that are not in place any more; what is not ours moves to those that are."""
    mine = ours(left)
    for name in sorted(entries(left), key=MARKER.__eq__):  # the marker comes last
        path, kept = left / name, goal / name
        if _is_folder(path):  # of others it was linked, and this may be what is left of ours
            continue
        if name in mine or _is_same(path, kept):
            path.unlink()
        elif not os.path.lexists(kept) and kept.resolve().is_relative_to(goal.resolve()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.rename(kept)
    for folder, _, _ in os.walk(left, topdown=False):
        with suppress(OSError):  # it is not empty
            Path(folder).rmdir()


def _put(built: Path, goal: Path) -> None:
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


def _link_others(earlier: Path, built: Path) -> None:
    """Let the new results have what others put into the earlier ones.

    Raises:
        AnalysisError: a result has the same name.
    """
    mine = ours(earlier)
    for name in entries(earlier):
        if name in mine:
            continue
        source, copy = earlier / name, built / name
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _link(source, copy)
        except (FileExistsError, NotADirectoryError) as exc:
            raise AnalysisError(
                f"{source} is in the way: a result has this name, and attn did not write it or it "
                "was changed since; move it away, or choose another folder with --out"
            ) from exc


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _link(source: Path, copy: Path) -> None:
    """Let a file, a link or an empty folder have another name; a copy where links cannot be."""
    if _is_folder(source):
        copy.mkdir()
        return
    try:
        os.link(source, copy, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, copy, follow_symlinks=False)


def _is_same(first: Path, other: Path) -> bool:
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


def _is_unmarked(folder: Path, index: str) -> bool:
    """Whether a folder holds results of an attn that did not mark them."""
    try:
        facts = read_json(folder / index, dict[str, Any])
    except TraceError:
        return False
    return facts.get("schema") == 1 and not is_marked(folder)


def _keep(goal: Path) -> Path:
    """Rename earlier results, so that they are kept beside new ones."""
    names = (f"{goal.name}-earlier-{number}" for number in count(1))
    kept = next(path for path in map(goal.with_name, names) if not os.path.lexists(path))
    goal.rename(kept)
    return kept
