"""Folders of results, put in place by one rename; nothing that others made is ever removed.

A folder of results has a marker, which lists its files with their SHA-256: what it lists, and what
is as it was written, is ours, and everything else in the folder is not. Results are built in a
temporary folder, see `attn.files.scratch`. What is not ours is linked into the new results before
they are put in place, so it is never gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from attn.errors import AnalysisError, TraceError
from attn.files.disk import reported, resolved
from attn.files.exchange import NEW, PART, link, put
from attn.files.markers import MARKER, digests, entries, is_marked, ours, read_marker, write_marker
from attn.files.outside import read_json
from attn.files.scratch import part, scratch

COMPARISON = "comparison.json"
"""The file that tells what a folder of results of a comparison holds."""
HINT = "Choose another folder with --out."


@contextmanager
def replaced(
    folder: Path,
    command: str,
    index: str,
    note: Callable[[str], None] | None = None,
    whole: Path | None = None,
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
        whole: what another call yielded, of whose results these are a part.

    Raises:
        AnalysisError: `folder` holds something else, or something of the same name as a result.
        TraceError: the disk is full, permission is missing, ….
    """
    goal = refuse_others(folder, command, index)
    with reported(folder, hint=HINT), _building(goal, whole) as built:
        yield built
        write_marker(built, command=command, files=digests(built))
        if built.name == PART and _is_renamed(built, goal):
            return
        kept = _put(built, goal, index) if built.name == NEW else _move(built, goal, index)
        if kept is not None and note is not None:
            note(f"{folder} held results of an attn that did not mark its files: see {kept}")


@contextmanager
def _building(goal: Path, whole: Path | None) -> Iterator[Path]:
    """Yield an empty folder, which is removed at the end unless it was put in place."""
    if whole is not None and not os.path.lexists(goal):
        with part(whole, goal) as built:
            yield built
    else:
        with scratch(goal) as built:
            built.mkdir()
            yield built


def _put(built: Path, goal: Path, index: str) -> Path | None:
    """Put results in place, with what others put into the earlier ones; say where these are kept.

    They are if they have no marker.
    """
    kept = None
    if is_unmarked(goal, index):
        kept = _keep(goal)
    elif goal.is_dir():
        _link_others(goal, built)
        shutil.copymode(goal, built)
    put(built, goal)
    return kept


def _move(built: Path, goal: Path, index: str) -> Path | None:
    """Put results in place that another run, or another disk, was in the way of."""
    with scratch(goal) as moved:
        shutil.move(built, moved)
        return _put(moved, goal, index)


def _is_renamed(built: Path, goal: Path) -> bool:
    """Rename results to what is free; say whether it is."""
    try:
        built.rename(goal)
    except OSError:
        return False
    return True


def withdraw(folder: Path, command: str, index: str) -> None:
    """Take results away; what others put into the folder stays.

    Raises:
        TraceError: the disk is full, permission is missing, ….
    """
    goal = resolved(folder)
    marker = read_marker(goal)
    is_ours = marker is not None and marker.command == command
    if not is_ours and not is_unmarked(goal, index):
        return
    with replaced(folder, command, index):
        pass
    with reported(folder, "remove"):
        if [path.name for path in goal.iterdir()] == [MARKER]:
            (goal / MARKER).unlink()
            goal.rmdir()


def refuse_others(folder: Path, command: str, index: str) -> Path:
    """Refuse a folder for results that holds something else than results of this command.

    Args:
        folder: may be missing.
        command: whose results it is for.
        index: file that such results always have.

    Returns:
        The folder without symbolic links.

    Raises:
        AnalysisError: says what it holds.
        TraceError: it cannot be looked at.
    """
    goal = resolved(folder)
    with reported(folder, hint=HINT):
        try:
            goal.lstat()  # the name may be too long, which is known before any work this way
        except FileNotFoundError:
            return goal
    with reported(folder, "read", HINT):
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
    if marker is None and not is_empty and not is_unmarked(goal, index):
        raise AnalysisError(
            f"{folder} is no folder of results of `attn {command}`, and not empty: it is not "
            "replaced; choose another with --out"
        )
    return goal


def is_unmarked(folder: Path, index: str) -> bool:
    """Whether a folder holds results of an attn that did not mark them."""
    try:
        facts = read_json(folder / index, dict[str, Any])
    except TraceError:
        return False
    return facts.get("schema") == 1 and not is_marked(folder)


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
            link(source, copy)
        except (FileExistsError, NotADirectoryError) as exc:
            raise AnalysisError(
                f"{source} is in the way: a result has this name, and attn did not write it or it "
                "was changed since; move it away, or choose another folder with --out"
            ) from exc


def _keep(goal: Path) -> Path:
    """Rename earlier results, so that they are kept beside new ones."""
    names = (f"{goal.name}-earlier-{number}" for number in count(1))
    kept = next(path for path in map(goal.with_name, names) if not os.path.lexists(path))
    goal.rename(kept)
    return kept
