"""`attn verify`: whether files are as they were written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from attn.errors import DamagedError, TraceError
from attn.files.digests import has_seal, output_digest
from attn.files.disk import is_there, reported
from attn.files.markers import MARKER, REMEDY, read_marker, require_unchanged
from attn.files.names import COLLECTION
from attn.schema import Manifest, Shard
from attn.trace.store import JOURNAL, MANIFEST, TraceFiles, load_manifest, require_journal
from attn.verbs import checks
from attn.verbs.capture.collection import read_index, require_listed
from attn.verbs.capture.outputs import check_output
from attn.wording import list_some

ALONE = ("entropy", "lse", "scale", "confidence")
"""Measures with one number per row or head, any of which may be missing."""
DEEPEST = 6
"""Levels below a folder on which traces and results are looked for."""


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written, and why that is so."""

    path: Path
    reason: str


@dataclass
class Verified:
    """What was checked.

    Attributes:
        paths: what was looked at.
        traces: number of traces.
        results: number of folders with results of `attn analyze`, `compare` or `lora`.
        files: number of files that were held against their digests.
        damaged: those that are not as they were written.
        unsealed: files without a digest, which cannot be checked: those of earlier versions.
        not_numbers: shards, as they were written, that have NaN where no row is missing.
    """

    paths: tuple[Path, ...]
    traces: int = 0
    results: int = 0
    files: int = 0
    damaged: list[Damage] = field(default_factory=list)
    unsealed: list[Path] = field(default_factory=list)
    not_numbers: list[Damage] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`complete`, or `failed` if a file is damaged."""
        return "failed" if self.damaged else "complete"


def verify(*paths: str | Path) -> Verified:
    """Check every file of traces, collections and results against its digest: `attn verify`.

    Nothing is written, and everything is looked at, whatever is damaged.

    Args:
        paths: folders of traces, collections or results, or folders of such.

    Raises:
        TraceError: a path is missing, cannot be read, or holds nothing that `attn` wrote.
    """
    done = Verified(tuple(checks.folder("path", path) for path in paths))
    for path in done.paths:
        before = done.traces + done.results
        _look(path.parent if path.name == MANIFEST else path, DEEPEST, done)
        if done.traces + done.results == before and not done.damaged:
            raise TraceError(f"{path} holds no trace and no results of attn")
    return done


def _look(folder: Path, depth: int, done: Verified) -> None:
    """Check what a folder is, and what is in it."""
    with reported(folder, "read"):
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    if os.path.lexists(folder / MARKER):
        _check_results(folder, done)
        return
    if os.path.lexists(folder / MANIFEST):
        _check_trace(folder, done)
    if os.path.lexists(folder / COLLECTION):
        _check_collection(folder, done)
    for path in inner if depth else ():
        if not path.is_symlink() and not path.name.startswith("."):  # links may lead in a circle
            _look(path, depth - 1, done)


def _check_trace(folder: Path, done: Verified) -> None:
    done.traces += 1
    manifests: list[Manifest] = []
    if not _check(folder / MANIFEST, lambda: manifests.append(load_manifest(folder)), done):
        return
    (manifest,) = manifests
    if not has_seal(folder / MANIFEST):
        done.unsealed.append(folder / MANIFEST)
    files = TraceFiles(folder, manifest)
    for shard in manifest.shards:
        if _check(folder / shard.file, partial(_check_shard, files, shard), done):
            _look_for_nan(files, shard, done)
    for name in manifest.outputs:
        is_whole = _check(folder / name, partial(check_output, folder, name, manifest), done)
        if is_whole and output_digest(manifest, name) is None:
            done.unsealed.append(folder / name)
    if is_there(folder / JOURNAL):
        _check(folder / JOURNAL, partial(require_journal, folder, manifest), done)


def _check_shard(files: TraceFiles, shard: Shard) -> None:
    files.verify(shard.file)
    files.tensors(shard.file)


def _look_for_nan(files: TraceFiles, shard: Shard, done: Verified) -> None:
    """Take down the tensors of a shard that are no numbers where something was computed."""
    names = [name for name in files.tensors(shard.file) if has_stray_nan(files, shard.file, name)]
    if names:
        told = list_some(names, 1)
        reason = f"{told} of its tensors: NaN where no row is missing"
        done.not_numbers.append(Damage(files.folder / shard.file, reason))


def has_stray_nan(files: TraceFiles, file: str, name: str) -> bool:
    """Whether a tensor has NaN that does not say that a layer, head or row is missing.

    What is missing is so as a whole: every key of a query, every key of a head, a number by itself
    of those that there are one of per row or head.
    """
    measure = name.partition("/")[2].partition(".")[0]
    if measure in ALONE:
        return False
    is_nan = np.isnan(files.read(file, name))
    return bool((is_nan & ~is_nan.all(-1, keepdims=True)).any())


def _check_results(folder: Path, done: Verified) -> None:
    done.results += 1
    marker = read_marker(folder)
    if marker is None:
        reason = f"{folder / MARKER} cannot be read. {REMEDY}"
        done.damaged.append(Damage(folder / MARKER, reason))
        return
    for name in (MARKER, *marker.files):
        _check(folder / name, partial(require_unchanged, folder, name), done)


def _check_collection(folder: Path, done: Verified) -> None:
    """Check the index, that it lists the traces that are there, and those that it links to."""
    linked: list[Path] = []

    def check() -> None:
        for entry in read_index(folder):
            trace = folder / entry.folder
            if trace.is_symlink() and is_there(trace / MANIFEST):
                linked.append(trace)
            if entry.status != "complete":
                continue
            if not is_there(trace / MANIFEST):
                raise DamagedError(f"{trace} is gone, which {COLLECTION} lists as complete")
            try:
                manifest = load_manifest(trace)
            except TraceError:  # told of the trace itself
                continue
            require_listed(trace, manifest, entry.prompt, entry.seed)

    if _check(folder / COLLECTION, check, done) and not has_seal(folder / COLLECTION):
        done.unsealed.append(folder / COLLECTION)
    for trace in linked:
        _check_trace(trace, done)


def _check(path: Path, check: Callable[[], object], done: Verified) -> bool:
    """Run one check and take down what it finds; return whether all is well."""
    done.files += 1
    try:
        check()
    except TraceError as error:
        done.damaged.append(Damage(path, str(error)))
        return False
    return True
