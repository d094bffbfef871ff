"""The folder of a capture: chosen, made, and held against other captures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from itertools import accumulate, chain, count, islice
from pathlib import Path

from attn.errors import AnalysisError, TraceError
from attn.files.disk import (
    is_file,
    is_there,
    open_in_place,
    remove_parts,
    reported,
    resolved,
)
from attn.files.locks import folder_lock
from attn.files.markers import is_marked
from attn.files.names import COLLECTION
from attn.files.scratch import is_debris
from attn.files.scratch import sweep as sweep_results
from attn.trace.store import MANIFEST
from attn.verbs.capture.collection import SHARD_JOURNAL, is_collection, read_index

ANALYSIS = "analysis"
"""Where the results of a trace or of a collection are, in its folder."""
ANALYSIS_INDEX = "analysis.json"
PARTS = ("attention", "outputs", ANALYSIS)
"""Folders in that of a trace."""
RUNS = Path("attn-runs")
"""Where new folders are made."""
PROBE = ".attn-probe"
LONGEST = 60
"""Longest name of a variant's folder, in characters: at most 240 bytes."""
PART = re.compile(rf"(?:{re.escape(COLLECTION)}|{re.escape(MANIFEST)})\.\d+\.part")


def choose_folder(out: Path | None, backend: str, prompt: str, runs: Path = RUNS) -> Path:
    """Return the folder of the result: `out`, or a new one named by date, family and prompt.

    What killed runs left in earlier new folders is removed.

    Args:
        out: that was named.
        backend: name of the family.
        prompt: the first one.
        runs: where new folders are made.
    """
    if out is not None:
        return out
    for folder in runs.glob("*"):
        sweep_results(folder)
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].rstrip("-") or "prompt"
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{backend}-{slug}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))  # two in one second
    return next(path for path in map(runs.joinpath, names) if not is_there(path))


def short_names(paths: Mapping[str, str]) -> dict[str, str]:
    """Return the ends of paths, as short as all of them differ.

    Args:
        paths: by their keys, which are the names where no ends differ.
    """
    parts = {key: Path(path).parts for key, path in paths.items()}
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {key: "/".join(path[-depth:]) for key, path in parts.items()}
        if len(set(names.values())) == len(paths):
            return names
    return {key: key for key in paths}


def name_folders(labels: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Return names of folders for variants: legal everywhere, different, and not taken already."""
    names: list[str] = []
    used = {name.casefold() for name in taken}
    for label in labels:
        told = label.replace("@!", "@not-")  # all modules but these
        plain = re.sub(r"[^\w.+-]+", "-", told).strip("-.")[:LONGEST] or "variant"
        name, number = plain, 2
        while name.casefold() in used:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
        used.add(name.casefold())
    return names


def contents(folder: Path) -> list[str]:
    """Return the names in a folder, without what a killed capture leaves before it has begun.

    Raises:
        TraceError: it is a file, or cannot be read.
    """
    try:
        if not folder.exists():
            return []
        if not folder.is_dir():
            raise TraceError(f"{folder} is a file; choose another folder with --out, or remove it")
        return sorted(path.name for path in folder.iterdir() if not _is_debris(path))
    except OSError as exc:
        raise _not_writable(folder, exc) from exc


def refuse_contents(folder: Path) -> None:
    """Refuse a folder with anything in it.

    Raises:
        TraceError: with what helps.
    """
    names = contents(folder)
    if COLLECTION in names or MANIFEST in names:
        raise TraceError(
            f"{folder} holds an earlier capture; finish that with --resume, choose another folder "
            "with --out, or remove it"
        )
    if names:
        raise TraceError(f"{folder} is not empty; choose another folder with --out, or remove it")


def refuse_parts(folder: Path) -> None:
    """Refuse a folder for something new that is part of a trace, or in a folder of results.

    The folder of a trace that a collection lists, and that is not made yet, is part of it too.

    Raises:
        AnalysisError: says which.
        TraceError: it cannot be found.
    """
    full = resolved(folder, "Choose another folder with --out.")
    for ancestor in (full, *full.parents):
        is_of_trace = any(is_file(ancestor.parent / name) for name in (MANIFEST, COLLECTION))
        if is_marked(ancestor) or (ancestor.name in PARTS and is_of_trace):
            raise AnalysisError(
                f"{ancestor} holds results of attn or a part of a trace, and nothing else goes "
                "into it; choose another folder with --out"
            )
    for collection in filter(is_collection, full.parents):
        if name := _find_unmade(full, collection):
            raise AnalysisError(
                f"{collection / name} is the folder of a trace that is not made yet, and nothing "
                f"else goes into it: `attn capture --resume --out {collection}` makes it; choose "
                "another folder with --out"
            )


def _find_unmade(folder: Path, collection: Path) -> str:
    """Return which trace of a collection a folder is in, if that has no manifest yet."""
    below = folder.relative_to(collection)
    names = {path.as_posix() for path in (below, *below.parents)}
    listed: list[str] = []
    with suppress(TraceError):  # whose index is damaged knows of none
        listed = [entry.folder for entry in read_index(collection) if entry.folder in names]
    return next((name for name in listed if not is_there(collection / name / MANIFEST)), "")


def refuse_outside(path: Path, folder: Path) -> None:
    """Refuse to write into part of a folder that is a link which leads out of the folder.

    Raises:
        TraceError: says where it leads.
    """
    if _is_below(path, folder):
        return
    full, within = resolved(path), resolved(folder)
    if not full.is_relative_to(within):
        raise TraceError(
            f"{path} leads out of {folder}, to {full}: nothing is written there; choose another "
            "folder with --out, or name that one"
        )


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder by its name, and no link leads elsewhere on the way."""
    names = path.parts[len(folder.parts) :]
    if path.parts[: len(folder.parts)] != folder.parts or ".." in names:
        return False
    steps = accumulate(names, "{}/{}".format, initial=str(folder))
    return not any(map(os.path.islink, islice(steps, 1, None)))


@contextmanager
def output_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Make the folder, and take it away again if it is new and nothing was written into it.

    Made before the model is loaded, so that a place that cannot be written is known at once.

    Args:
        folder: of the result.
        shared: with other processes that share it.

    Raises:
        TraceError: it cannot be written, or another capture is writing into it.
    """
    is_new = not is_there(folder)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(open_in_place(folder / PROBE, os.O_WRONLY))
            (folder / PROBE).unlink(missing_ok=True)  # others that share it probe too
        except OSError as exc:
            raise _not_writable(folder, exc) from exc
        with _alone(folder, shared):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty, or gone
                folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove what killed captures left beside their results."""
    with reported(folder):
        (folder / PROBE).unlink(missing_ok=True)
    for name in (COLLECTION, MANIFEST):
        remove_parts(folder / name)
    sweep_results(folder)


def existing(path: Path) -> Path:
    """Return the path, or the nearest of its parents that exists."""
    return next(parent for parent in (path, *path.absolute().parents) if is_there(parent))


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    return shutil.disk_usage(existing(path)).free


@contextmanager
def _alone(folder: Path, shared: bool) -> Iterator[None]:
    """Keep other captures out, where the file system has locks."""
    with ExitStack() as stack:
        with reported(folder):
            is_held = stack.enter_context(folder_lock(folder, shared=shared))
        if is_held is False:
            raise TraceError(
                f"another capture is writing into {folder}; wait for its end, or choose another "
                "folder with --out"
            )
        yield


def _is_debris(path: Path) -> bool:
    if path.name == "attention":
        return path.is_dir() and not any(path.iterdir())
    if SHARD_JOURNAL.fullmatch(path.name):
        return not path.stat().st_size
    return path.name == PROBE or PART.fullmatch(path.name) is not None or is_debris(path)


def _not_writable(folder: Path, error: OSError) -> TraceError:
    return TraceError(
        f"cannot write into {folder}: {error.strerror or error}; choose another --out"
    )
