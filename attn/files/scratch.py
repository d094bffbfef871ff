"""Temporary folders in which results are built, and what is left of those of killed runs.

A temporary folder is beside its goal, has a marker too, and its process holds it locked:

    .attn-scratch-XXXXXXXX/new/      results that are being built
    .attn-scratch-XXXXXXXX/part/     those of one of many traces, whose goal was free
    .attn-scratch-XXXXXXXX/whole/    results that are complete but not in place, new or earlier ones
    .attn-scratch-XXXXXXXX/earlier/  those that were in place, where folders cannot be exchanged

Every run settles its temporary folder at its end, and before it begins those that killed runs left.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from attn.files.exchange import EARLIER, NEW, PART, WHOLE, is_real_folder, is_same
from attn.files.locks import folder_lock
from attn.files.markers import MARKER, entries, is_marked, ours, read_marker, write_marker

PREFIX = ".attn-scratch-"
SCRATCH = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}")
"""Names of temporary folders, as `mkdtemp` makes them."""


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


@contextmanager
def part(whole: Path, goal: Path) -> Iterator[Path]:
    """Yield a new folder beside the one that `scratch` yielded, gone at the end unless renamed.

    So results of thousands of traces need no temporary folder each: a file system may take longer
    to make and remove that than the results.

    Args:
        whole: what `scratch` yielded.
        goal: what the folder is to be renamed to.

    Raises:
        OSError: the disk is full, permission is missing, ….
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    sweep(goal.parent)
    built = whole.with_name(PART)
    built.mkdir()
    try:
        yield built
    finally:
        with suppress(OSError):
            shutil.rmtree(built)


def sweep(folder: Path) -> None:
    """Settle what killed runs left in a folder; what still runs, and what is not ours, stays."""
    with suppress(OSError):  # there may be no such folder
        for workspace in filter(_is_scratch, folder.glob(f"{PREFIX}*")):
            _settle_left(workspace)


def is_debris(path: Path) -> bool:
    """Whether something is a temporary folder of ours."""
    return _is_scratch(path) and (is_marked(path) or not any(path.iterdir()) or _is_torn(path))


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
    return SCRATCH.fullmatch(path.name) is not None and is_real_folder(path)


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
            if is_real_folder(left) and not os.path.lexists(goal):
                left.rename(goal)
            elif is_real_folder(left) and is_real_folder(goal):
                _discard(left, goal)
        for unfinished in filter(is_real_folder, (workspace / NEW, workspace / PART)):
            shutil.rmtree(unfinished)
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
        if is_real_folder(path):  # of others it was linked, and this may be what is left of ours
            continue
        if name in mine or is_same(path, kept):
            path.unlink()
        elif not os.path.lexists(kept) and kept.resolve().is_relative_to(goal.resolve()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.rename(kept)
    for folder, _, _ in os.walk(left, topdown=False):
        with suppress(OSError):  # it is not empty
            Path(folder).rmdir()
