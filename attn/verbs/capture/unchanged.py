"""Finished traces of large runs that need not be read again, as far as their files' times tell.

Up to `MANY` traces, going on with a run reads all that is finished. Of more, a trace is read once:
the index has the stamp of its files from when it was written, or read as a whole; as long as that
is theirs, it is taken for what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from attn.errors import TraceError
from attn.files.stamps import stamp_of
from attn.trace.store import MANIFEST
from attn.verbs.capture.collection import Entry

MANY = 1_000
"""Traces of a run, of more than which not all are read again."""
STAMPED = (MANIFEST, "attention", "outputs")
"""What the stamp of a trace is made of: its manifest, and which files are in its folders."""


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


def _stamp(folder: str) -> str | None:
    """Return what changes when a manifest is written, or a file comes into a trace or leaves it."""
    try:
        stamps = [stamp_of(f"{folder}/{name}") for name in STAMPED]
    except TraceError:  # whoever reads the trace says why
        return None
    return None if None in stamps else sha256(repr(stamps).encode()).hexdigest()[:16]
