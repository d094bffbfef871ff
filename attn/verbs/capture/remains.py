"""What an earlier run left in a folder, by its index or by its traces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attn.errors import DamagedError, TraceError
from attn.files.disk import is_there, reported
from attn.files.names import COLLECTION
from attn.schema import Manifest, Request
from attn.trace.store import JOURNAL, MANIFEST, read_manifest
from attn.verbs.capture.collection import Entry, Run, read_collection
from attn.verbs.capture.folders import contents
from attn.verbs.capture.jobs import folder_names
from attn.verbs.capture.outputs import read_pictured
from attn.verbs.capture.run_identity import manifest_run

NUMBERED = re.compile(r"[0-9]{4,}")
"""Names of the folders of a collection's traces."""


@dataclass(frozen=True)
class PreviousRun:
    """What an earlier run left.

    Attributes:
        folder: where it is.
        entries: its traces.
        run: what they share, as far as it is known.
        damage: what is wrong with the index, which is written anew.
    """

    folder: Path
    entries: tuple[Entry, ...]
    run: Run | None
    damage: str = ""


def find_previous(folder: Path, wishes: Sequence[Request]) -> PreviousRun | None:
    """Inspect what an earlier run left in a folder; None if it is empty.

    Where an index is damaged or gone, its traces say what it listed. Where the manifest of a single
    trace is damaged, its picture says what it is of; without one it is taken for what is wished.

    Raises:
        TraceError: something that is no capture, or cannot be read.
    """
    names = contents(folder)
    if not names:
        return None
    if COLLECTION in names:
        try:
            index = read_collection(folder)
        except DamagedError as error:
            return _rebuild_index(folder, wishes, error)
        return PreviousRun(folder, index.traces, index.run)
    numbered = (folder / name for name in names if NUMBERED.fullmatch(name))
    if MANIFEST not in names and any(is_there(trace / MANIFEST) for trace in numbered):
        return _rebuild_index(folder, wishes, DamagedError(f"{folder / COLLECTION} is gone."))
    if MANIFEST not in names:
        raise TraceError(
            f"{folder} holds no capture that could be resumed, but {names[0]}; choose another "
            "folder with --out"
        )
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        if not is_there(folder / JOURNAL):
            raise DamagedError(
                f"{error} Nothing was changed, since there is no {JOURNAL} beside it, as a capture "
                "has: choose another folder with --out"
            ) from error
        prompt, seed = read_pictured(folder) or (wishes[0].prompt, wishes[0].seed)
        return PreviousRun(folder, (Entry(".", "pending", prompt, seed),), None)
    entry = Entry(".", "pending", manifest.request.prompt, manifest.request.seed)
    return PreviousRun(folder, (entry,), manifest_run(manifest))


def _rebuild_index(folder: Path, wishes: Sequence[Request], damage: DamagedError) -> PreviousRun:
    """Rebuild a collection's index from its traces; traces that are missing are as requested.

    Raises:
        DamagedError: there is none, or it does not say what it is.
    """
    names = [name for name in contents(folder) if NUMBERED.fullmatch(name)]
    traces = {name: entry for name in names if (entry := _listed(folder, name, damage))}
    if not traces:
        raise DamagedError(
            f"{damage} Nothing was changed, since no folder beside it ({folder / '0000'}, …) holds "
            "a trace that says what was captured here. Put the file back as it was written; or "
            "rename or remove it, and run the same command again, if nothing else is in the "
            "folder; or choose another folder with --out"
        )
    pairs = zip(folder_names(len(wishes)), wishes, strict=True)
    wished = {name: Entry(name, "pending", wish.prompt, wish.seed) for name, wish in pairs}
    if len(wishes) == 1:
        wished = {}  # no trace of a collection
    merged = wished | traces
    order = sorted(merged, key=lambda name: (len(name), name))  # 9999, 10000
    return PreviousRun(folder, tuple(merged[name] for name in order), None, str(damage))


def _listed(folder: Path, name: str, damage: DamagedError) -> Entry | None:
    """Return the index entry of a trace, or None if it was not begun."""
    try:
        manifest = read_begun(folder / name)
    except DamagedError as error:
        raise DamagedError(
            f"{damage} It could be written anew from the traces beside it, but of those this is "
            f"damaged too: {error} Nothing was changed. Put one of the two files back as it was "
            f"written; or move the folder {folder / name} away and run the same command again, "
            "which makes that trace again; or choose another folder with --out"
        ) from error
    if manifest is None:
        return None
    return Entry(name, "pending", manifest.request.prompt, manifest.request.seed)


def read_begun(folder: Path) -> Manifest | None:
    """Return the manifest of a trace, or None if that has not begun.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it is damaged.
    """
    with reported(folder, "read"):
        has_begun = (folder / MANIFEST).exists()
    return read_manifest(folder) if has_begun else None
