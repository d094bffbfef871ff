"""A folder of traces with an index.

`index.json` is written when a capture begins and when it ends, however it ends. In between, every
trace adds a line to `index.jsonl`, so that thousands of traces cost no more each than a few do; a
killed capture leaves both. Of a run that several processes make, each shard has its journal, and
the index stays as it was begun.

Up to `MANY` traces, going on with a run reads all that is finished. Of more, a trace is read once:
the index has the stamp of its files from when it was written, or read as a whole; as long as that
is theirs, it is taken for what it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from attn.choices import ItemStatus
from attn.errors import DamagedError, TraceError
from attn.files.digests import read_sealed, seal
from attn.files.disk import (
    append_lines,
    encode_json,
    is_file,
    open_in_place,
    read_journal,
    reported,
    write_atomic,
)
from attn.files.names import COLLECTION
from attn.files.outside import require_inside
from attn.files.stamps import stamp_of
from attn.schema import Manifest
from attn.trace.store import MANIFEST

SCHEMA = 1
"""Version of `index.json`, and the newest that is read."""
JOURNAL = "index.jsonl"
SHARD_JOURNAL = re.compile(r"index\.\d+-of-\d+\.jsonl")
MANY = 1_000
"""Traces of a run; of more, the unchanged ones are not read again when the run goes on."""
STAMPED = (MANIFEST, "attention", "outputs")
"""What the stamp of a trace is made of: its manifest, and which files are in its folders."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One trace of a collection.

    Attributes:
        folder: where it is, relative to that of the collection.
        status: what became of it.
        prompt: that it is of.
        seed: that it is of.
        error: why it failed.
        stamp: of its files when all of it was read or written, in a run of many traces.
    """

    folder: str
    status: ItemStatus
    prompt: str
    seed: int
    error: str | None = None
    stamp: str | UnsetType = field(default=UNSET, repr=False, compare=False)


@dataclass(frozen=True)
class Run:
    """What all traces of a collection share, so that a resumed run can tell that it is the same.

    Attributes:
        backend: the model family.
        batch: how many traces are generated at once, which changes their last bits.
        model: source, dtype and parameters.
        request: the fields of `schema.Request` but prompt and seed.
        kept: the fields of `schema.Kept` but the columns, and the branches.
    """

    backend: str
    batch: int | None
    model: dict[str, Any]
    request: dict[str, Any]
    kept: dict[str, Any]


@dataclass(frozen=True)
class Index:
    """The contents of `index.json`, prompt-major."""

    traces: tuple[Entry, ...]
    run: Run | None = None
    schema: int = SCHEMA


@dataclass(frozen=True)
class _Outcome:
    """One line of the journal."""

    folder: str
    status: ItemStatus
    error: str | None = None
    stamp: str | UnsetType = UNSET


def is_collection(folder: Path) -> bool:
    """Whether a folder has an index of traces."""
    return is_file(folder / COLLECTION)


def begin_index(folder: Path, entries: Sequence[Entry], run: Run | None) -> None:
    """Write the index of a run whose outcomes stand in journals beside it."""
    write_atomic(folder / COLLECTION, seal(encode_json(Index(tuple(entries), run))))


def write_index(folder: Path, entries: Sequence[Entry], run: Run | None = None) -> None:
    """Write the index, whole or not at all; what the journals say is in it, so these go."""
    begin_index(folder, entries, run)
    with reported(folder / JOURNAL):
        for journal in (folder / JOURNAL, *shard_journals(folder)):
            journal.unlink(missing_ok=True)


def note_outcomes(folder: Path, entries: Iterable[Entry], journal: str = JOURNAL) -> None:
    """Add to a journal what became of some traces."""
    append_lines(folder / journal, map(_outcome, entries))


def write_outcomes(folder: Path, entries: Iterable[Entry], journal: str) -> None:
    """Write a journal anew, in its place, since a process may hold it; a torn line goes."""
    with reported(folder / journal):
        os.close(open_in_place(folder / journal, os.O_WRONLY | os.O_TRUNC))
    note_outcomes(folder, entries, journal)


def shard_journal(number: int, count: int) -> str:
    """Return the name of the journal of one part of a run."""
    return f"index.{number}-of-{count}.jsonl"


def shard_journals(folder: Path) -> list[Path]:
    """Return the journals of the parts of a run, in a fixed order.

    Raises:
        TraceError: the folder cannot be read.
    """
    with reported(folder, "read"):
        return sorted(path for path in folder.iterdir() if SHARD_JOURNAL.fullmatch(path.name))


def read_index(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of a collection.

    Raises:
        TraceError: the index is unreadable, or from a newer schema.
    """
    return read_collection(folder).traces


def read_collection(folder: Path) -> Index:
    """Return the index of a collection, with what the journal adds to it.

    Raises:
        TraceError: the index is unreadable, or from a newer schema.
        DamagedError: it is no index, or not as it was written.
    """
    path = folder / COLLECTION
    index = read_sealed(
        path,
        Index,
        newest=SCHEMA,
        expected="the index of a collection",
        hint="Its traces can be opened one by one.",
    )
    for entry in index.traces:
        if not entry.folder.isalnum():  # as those of a hundred thousand traces are
            require_inside(path, entry.folder)
    outcomes: dict[str, _Outcome] = {}
    for journal in (folder / JOURNAL, *shard_journals(folder)):
        last = {item.folder: item for item in read_journal(journal, _Outcome)}
        outcomes |= {
            name: outcome
            for name, outcome in last.items()
            if name not in outcomes or _WEIGHT[outcome.status] >= _WEIGHT[outcomes[name].status]
        }
    return replace(index, traces=tuple(_updated(entry, outcomes) for entry in index.traces))


def require_listed(folder: Path, manifest: Manifest, prompt: str, seed: int) -> None:
    """Refuse a trace that is of another request than the index of its collection says.

    Raises:
        DamagedError: the prompt or the seed is another.
    """
    request = manifest.request
    if (request.prompt, request.seed) != (prompt, seed):
        raise DamagedError(
            f"{folder} is of seed {request.seed} and the prompt '{request.prompt}', but the "
            f"collection's {COLLECTION} lists it with seed {seed} and the prompt '{prompt}'; one "
            "of them was changed"
        )


def stamp_entry(entry: Entry, out: Path, total: int) -> Entry:
    """Return the entry of a trace that was just written, or is about to be read, with its stamp.

    Args:
        entry: of a run with few traces it stays as it is.
        out: folder of the run.
        total: number of its traces.
    """
    stamp = _stamp(f"{out}/{entry.folder}") if total > MANY else None
    return entry if stamp is None else replace(entry, stamp=stamp)


def find_unchanged(out: Path, entries: Sequence[Entry]) -> set[str]:
    """Return the folders of finished traces whose stamps are those that the index has.

    Of a run with few traces there are none.
    """
    if len(entries) <= MANY:
        return set()
    return {
        entry.folder
        for entry in entries
        if entry.status == "complete"
        and entry.stamp
        and entry.stamp == _stamp(f"{out}/{entry.folder}")
    }


def _outcome(entry: Entry) -> _Outcome:
    return _Outcome(entry.folder, entry.status, entry.error, entry.stamp)


def _updated(entry: Entry, outcomes: dict[str, _Outcome]) -> Entry:
    outcome = outcomes.get(entry.folder)
    if outcome is None:
        return entry
    of = entry.folder, outcome.status, entry.prompt, entry.seed
    return Entry(*of, outcome.error, outcome.stamp)


def _stamp(folder: str) -> str | None:
    """Return what changes when a manifest is written, or a file comes into a trace or leaves it."""
    try:
        stamps = [stamp_of(f"{folder}/{name}") for name in STAMPED]
    except TraceError:  # whoever reads the trace says why
        return None
    return None if None in stamps else sha256(repr(stamps).encode()).hexdigest()[:16]


_WEIGHT = {"pending": 0, "failed": 1, "complete": 2}
"""Which outcome counts, where journals of other numbers of shards tell of the same trace."""
