"""A folder of results: built aside, swapped in whole, with an index of what is in it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attn.disk import reported
from attn.errors import AnalysisError
from attn.store import MANIFEST
from attn.verbs.collection import INDEX as COLLECTION

FOLDER = "analysis"
"""Where the results of a trace or of a collection are, in its folder."""
INDEX = "analysis.json"
SCHEMA = 1
"""Version of `analysis.json`."""


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` if the block succeeds.

    If it fails, what was in `folder` stays as it was.

    Raises:
        AnalysisError: `folder` holds something else than results.
        TraceError: the disk is full, permission is missing, ….
    """
    _refuse_foreign(folder, folder.resolve())
    with swapped(folder) as built:
        yield built


@contextmanager
def swapped(folder: Path) -> Iterator[Path]:
    """Do as `replaced`, whatever `folder` holds.

    What a killed run left beside `folder` is removed; if the kill came between taking the earlier
    results away and putting the new ones there, the earlier ones are back first.

    Raises:
        TraceError: the disk is full, permission is missing, ….
    """
    target = folder.resolve()
    hint = "Choose another folder with --out."
    with reported(folder, hint=hint):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        scratch = TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    with scratch as place, reported(folder, hint=hint), _held(Path(place)):
        built, old = Path(place, "new"), Path(place, "old")
        built.mkdir()
        yield built
        if target.exists():
            target.rename(old)
        try:
            built.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


@contextmanager
def merged(folder: Path, index: str) -> Iterator[Path]:
    """Yield an empty folder whose contents go into `folder` if the block succeeds.

    What the file `index` in `folder` lists under `files` is removed first; everything else there
    stays. If the block fails, all stays as it was.

    Raises:
        AnalysisError: `folder` is a file, or holds something of the same name that is not listed.
        TraceError: the disk is full, permission is missing, ….
    """
    target = folder.resolve()
    if target.exists() and not target.is_dir():
        raise AnalysisError(f"{folder} is a file; choose another with --out")
    hint = "Choose another folder with --out."
    with reported(folder, hint=hint):
        target.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=target, prefix=".new-")
    with scratch as place, reported(folder, hint=hint):
        built, old = Path(place, "new"), Path(place, "old")
        built.mkdir()
        yield built
        files = [path.relative_to(built) for path in built.rglob("*") if path.is_file()]
        files.sort(key=lambda path: path.name == index)  # the index comes last
        listed = _listed(target, index)
        _refuse_clashes(target, files, listed)
        _move(
            target,
            [(target / name, old / name) for name in listed]
            + [(built / name, target / name) for name in files],
        )


def refuse_analysis(folder: Path) -> None:
    """Refuse to put anything where `attn analyze` replaces a folder as a whole.

    Raises:
        AnalysisError: the folder is one of its results, is in one, or will be one.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        is_of_trace = any((place.parent / name).is_file() for name in (MANIFEST, COLLECTION))
        if (place / INDEX).is_file() or (place.name == FOLDER and is_of_trace):
            raise AnalysisError(
                f"{place} is what `attn analyze` replaces as a whole; choose another folder with "
                "--out"
            )


def _listed(folder: Path, index: str) -> list[Path]:
    """Return the files that an earlier call wrote, and that are still there."""
    try:
        listed = json.loads((folder / index).read_text(encoding="utf-8"))["files"]
        names = dict.fromkeys(Path(str(name)) for name in [*listed, index])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return [
        name
        for name in names
        if not name.is_absolute() and ".." not in name.parts and (folder / name).is_file()
    ]


def _refuse_clashes(folder: Path, files: Iterable[Path], listed: Sequence[Path]) -> None:
    """Refuse to write where something is that an earlier call did not write."""
    for name in files:
        spots = [folder / name] if name not in listed else []
        spots += [folder / part for part in name.parents if not (folder / part).is_dir()]
        for spot in spots:
            if os.path.lexists(spot):
                raise AnalysisError(
                    f"{spot} is in the way, and no result of this command; choose another folder "
                    "with --out, or move it away"
                )


def _move(folder: Path, moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files, all or none, and remove the folders inside `folder` that are empty then."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, goal in moves:
            goal.parent.mkdir(parents=True, exist_ok=True)
            source.rename(goal)
            done.append((source, goal))
    except BaseException:  # also Ctrl-C
        for source, goal in reversed(done):
            goal.rename(source)
        raise
    finally:
        _remove_empty(folder, {path.parent for pair in moves for path in pair})


def _remove_empty(folder: Path, places: Iterable[Path]) -> None:
    for place in places:
        for inner in (place, *place.parents):
            if folder not in inner.parents or not inner.is_dir() or any(inner.iterdir()):
                break
            inner.rmdir()


def write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `analysis.json`."""
    text = json.dumps({"schema": SCHEMA, **facts}, indent=1, ensure_ascii=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _sweep(target: Path) -> None:
    """Remove the folders in which runs that are no more built results."""
    for left in target.parent.glob(f".{escape(target.name)}-*"):
        if not (left / "new").is_dir() and not (left / "old").is_dir():
            continue  # not ours, or begun this moment
        with suppress(OSError), _held(left) as is_left:  # a run that lives holds its own
            if is_left and (left / "old").is_dir() and not target.exists():
                (left / "old").rename(target)
            if is_left:
                shutil.rmtree(left)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder as long as this process lives; yield whether it could be had.

    It cannot if another run holds it, or if the file system has no locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _refuse_foreign(folder: Path, target: Path) -> None:
    """Refuse to replace what this program did not write."""
    if not target.exists() or (target / INDEX).is_file():
        return
    if not target.is_dir() or any(target.iterdir()):
        what = (
            f"has no {INDEX}, so it is not a folder of results" if target.is_dir() else "is a file"
        )
        raise AnalysisError(f"{folder} {what}: it is not replaced; choose another with --out")
