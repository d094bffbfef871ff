"""`attn merge`: the shards of one run, made in folders of their own, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from rich import filesize

from attn.errors import DamagedError, TraceError, UsageError
from attn.files.digests import LARGEST_OUTPUT, output_digest
from attn.files.disk import (
    LARGEST_JOURNAL,
    copy_atomic,
    is_there,
    remove_parts,
    reported,
    write_atomic,
)
from attn.files.names import COLLECTION
from attn.files.outside import read_bytes
from attn.schema import Manifest
from attn.trace.store import JOURNAL, MANIFEST, TraceFiles, load_manifest, require_journal
from attn.verbs import checks
from attn.verbs.capture.collection import (
    Entry,
    Index,
    begin_index,
    is_collection,
    note_outcomes,
    read_collection,
    require_listed,
    stamp_entry,
    write_index,
)
from attn.verbs.capture.folders import (
    PARTS,
    free_bytes,
    output_folder,
    refuse_contents,
    refuse_outside,
    refuse_parts,
    sweep,
)
from attn.verbs.capture.outputs import check_output
from attn.verbs.capture.run_identity import differences, manifest_facts, run_facts, summary
from attn.verbs.report import Report

FEWEST = 2
"""Folders that can be put together."""


@dataclass(frozen=True)
class Merged:
    """What was put together.

    Attributes:
        path: the folder with all of it.
        collections: the traces of each collection by its folder in `path`, `.` where it is that.
        copied: number of traces that were copied.
    """

    path: Path
    collections: Mapping[str, tuple[Entry, ...]]
    copied: int

    @property
    def counts(self) -> dict[str, int]:
        """Number of traces by their status: `complete`, `failed`, `pending`."""
        listed = (entry.status for entries in self.collections.values() for entry in entries)
        return dict(Counter(listed))


def merge(*folders: str | Path, out: str | Path, report: Report | None = None) -> Merged:
    """Copy the finished traces of shards into one folder: `attn merge`.

    All folders must be of one run: the same prompts, seeds and options, and a model of the same
    bytes. What is in `out` already is kept, so a merge that was killed can be run again.

    Args:
        folders: collections of `attn capture --shard`, or comparisons, with one for each variant.
        out: a new folder, one of `folders`, or that of an earlier merge.
        report: told warnings.

    Raises:
        UsageError: fewer than two folders, or they are of several runs.
        TraceError: one is no collection, or a file cannot be read or written.
        DamagedError: a trace is not as it was written.
    """
    report, target = report or Report(), checks.folder("out", out)
    sources = [checks.folder("folder", folder) for folder in folders]
    if len(sources) < FEWEST:
        raise UsageError("name the folders that are put together: attn merge A B -o DIR")
    refuse_parts(target)
    names = _collections(sources)
    merged, copied = {}, 0
    if not any(is_collection(target / name) for name in names):
        refuse_contents(target)
    with output_folder(target):
        for name in names:
            parts = [source / name for source in sources if is_collection(source / name)]
            merged[name], number = _merge(parts, target / name)
            copied += number
    done = Merged(target, merged, copied)
    if done.counts.get("pending"):
        report.warn(
            f"{done.counts['pending']} traces are in none of the folders: merge their shard too, "
            f"or make them with the same command, --resume and --out {target}"
        )
    return done


def _collections(folders: Sequence[Path]) -> list[str]:
    """Return the collections in folders, relative to them.

    Raises:
        TraceError: a folder has none.
    """
    names: dict[str, None] = {}
    for folder in folders:
        if is_collection(folder):
            inner = ["."]
        else:
            with reported(folder, "read"):
                inner = sorted(path.name for path in folder.iterdir() if is_collection(path))
        if not inner:
            raise TraceError(f"{folder} holds no collection of traces ({COLLECTION})")
        names |= dict.fromkeys(inner)
    if "." in names and len(names) > 1:
        raise UsageError(
            "some folders are collections, others have collections in them: merge like with like"
        )
    return list(names)


def _merge(folders: Sequence[Path], out: Path) -> tuple[tuple[Entry, ...], int]:
    """Put the collections of one run together; return its traces, and how many were copied."""
    indices = {folder: read_collection(folder) for folder in folders}
    if is_collection(out):
        indices = {out: read_collection(out)} | indices  # first: what is there stays
    _require_same_run(indices)
    sources = _find_traces(indices)
    first = next(iter(indices.values()))
    entries = [
        replace(entry, status="complete", error=None)
        if entry.folder in sources
        else _unfinished(entry, index, indices.values())
        for index, entry in enumerate(first.traces)
    ]
    missing = {name: source for name, source in sources.items() if source.collection != out}
    _require_space(out, sum(source.bytes for source in missing.values()))
    with reported(out):
        out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    if out not in indices:
        begin_index(out, [replace(entry, status="pending") for entry in first.traces], first.run)
    for index, entry in enumerate(entries):
        if entry.folder in missing:
            for part in ("", *PARTS):
                refuse_outside(out / entry.folder / part, out)
            _copy(missing[entry.folder].collection / entry.folder, out / entry.folder)
            entries[index] = stamp_entry(entry, out, len(entries))
            note_outcomes(out, [entries[index]])
    write_index(out, entries, first.run)
    return tuple(entries), len(missing)


def _unfinished(entry: Entry, index: int, indices: Iterable[Index]) -> Entry:
    """Return why a trace that is complete nowhere is not, as far as a folder says so."""
    failed = (of.traces[index] for of in indices if of.traces[index].status == "failed")
    return next(failed, replace(entry, status="pending", error=None))


def _require_same_run(indices: Mapping[Path, Index]) -> None:
    """Refuse collections of several runs.

    Raises:
        UsageError: names the first differences.
    """
    (folder, index), *others = indices.items()
    facts = _facts(index)
    for other, compared in others:
        changes = differences(facts, _facts(compared))
        changes += [
            f"{was.folder}: '{was.prompt}', seed {was.seed} → '{now.prompt}', seed {now.seed}"
            for was, now in zip(index.traces, compared.traces, strict=False)
            if (was.folder, was.prompt, was.seed) != (now.folder, now.prompt, now.seed)
        ]
        if changes:
            raise UsageError(
                f"{folder} and {other} are of several runs ({summary(changes)}): nothing was "
                "merged; attn compare compares runs"
            )


def _facts(index: Index) -> dict[str, object]:
    """Return what a run is; its model may lie elsewhere, and traces tell which it is."""
    facts = run_facts(index.run) if index.run else {}
    facts.pop("model", None)
    return facts | {"traces": len(index.traces)}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a finished trace is taken from; of a hundred thousand, manifests are too large to keep.

    Attributes:
        collection: that it lies in.
        digest: of what decides whether two are the same.
        bytes: of its shards.
    """

    collection: Path
    digest: bytes
    bytes: int


def _find_traces(indices: Mapping[Path, Index]) -> dict[str, _Source]:
    """Return where each finished trace is taken from.

    Raises:
        UsageError: traces are of several models, or two of the same name have other bytes.
    """
    traces: dict[str, _Source] = {}
    identity: dict[str, object] = {}
    for folder, index in indices.items():
        for entry in index.traces:
            if entry.status != "complete" or not is_there(folder / entry.folder / MANIFEST):
                continue
            manifest = load_manifest(folder / entry.folder)
            if manifest.status != "complete":
                continue
            require_listed(folder / entry.folder, manifest, entry.prompt, entry.seed)
            facts = manifest_facts(manifest)
            models = {name: fact for name, fact in facts.items() if name.startswith("model ")}
            if changes := differences(identity, models):
                raise UsageError(
                    f"{folder / entry.folder} is of another model ({summary(changes)}): nothing "
                    "was merged; make it again with the model of the others"
                )
            identity = identity or models
            now = _Source(folder, _digest(manifest), sum(shard.bytes for shard in manifest.shards))
            was = traces.setdefault(entry.folder, now)
            if was.digest != now.digest:
                raise UsageError(
                    f"{was.collection / entry.folder} and {folder / entry.folder} are the same "
                    "trace with other bytes: nothing was merged; remove that which is not wanted"
                )
    return traces


def _digest(manifest: Manifest) -> bytes:
    outputs = [(name, output_digest(manifest, name)) for name in manifest.outputs]
    shards = [(shard.file, shard.sha256) for shard in manifest.shards]
    return sha256(repr([*shards, *outputs]).encode()).digest()


def _require_space(out: Path, needed: int) -> None:
    free = free_bytes(out)
    if needed > free:
        raise TraceError(
            f"the traces have {filesize.decimal(needed)}, but only {filesize.decimal(free)} are "
            f"free at {out}; free some space, or choose another --out"
        )


def _copy(source: Path, goal: Path) -> None:
    """Copy what a trace's manifest lists, check the copy, and put the manifest beside it, last.

    Raises:
        DamagedError: a file is not as it was written.
    """
    manifest = load_manifest(source)
    for left in (MANIFEST, "attention/*", "outputs/*"):  # by a merge that was killed
        remove_parts(goal / left)
    try:
        for shard in manifest.shards:
            copy_atomic(source / shard.file, goal / shard.file, shard.bytes, shard.sha256)
        for name in manifest.outputs:
            digest = output_digest(manifest, name)
            copy_atomic(source / name, goal / name, LARGEST_OUTPUT, digest)
        if is_there(source / JOURNAL):
            require_journal(source, manifest)
            write_atomic(goal / JOURNAL, read_bytes(source / JOURNAL, limit=LARGEST_JOURNAL))
        TraceFiles(goal, manifest).verify()
        for name in manifest.outputs:
            check_output(goal, name, manifest)
    except DamagedError as error:
        raise DamagedError(f"{source} is not as it was written: {error}") from error
    write_atomic(goal / MANIFEST, read_bytes(source / MANIFEST))
