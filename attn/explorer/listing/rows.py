"""What the list says of traces, kept from one look to the next while their manifests stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from attn.choices import Status
from attn.errors import AttnError, DamagedError, TraceError
from attn.explorer.listing.ends import read_ends
from attn.files.cache import cache_folder
from attn.files.disk import read_journal, write_atomic
from attn.files.outside import read_json
from attn.files.stamps import Stamp, stamp_of
from attn.schema import SCHEMA, Intervention, Lora, Shard, image_names
from attn.trace.store import JOURNAL, MANIFEST, read_fields

Stamps = tuple[Stamp | None, ...]
"""Of a trace's manifest, and of its journal while it is not finished."""
FILE = "explorer/rows.json"
LARGEST = 2**28
"""Bytes of it that are read."""
MOST = 50_000
"""Traces that are kept; of more, those that were read last."""
WORTHWHILE = 20
"""Traces that were read anew, from which on the file is written again."""


class ListedRow(msgspec.Struct, array_like=True):
    """What is kept of a trace.

    Attributes:
        stamps: of its files when it was read.
        facts: what the list says.
        is_checked: whether the manifest was held against its digest.
    """

    stamps: Stamps
    facts: dict[str, Any]
    is_checked: bool


class Rows:
    """Reads each trace once, and again when its manifest has changed."""

    def __init__(self) -> None:
        self._kept: dict[str, ListedRow] | None = None
        self._damaged: dict[str, tuple[Stamps, str]] = {}
        self._new = 0

    def facts(self, folder: str) -> dict[str, Any]:
        """Return what the list says of a trace.

        Raises:
            TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
        """
        if self._kept is None:
            self._kept = _read()
        row = self._kept.get(folder)
        if row is None or row.stamps != _stamps(folder, len(row.stamps)):
            self._kept.pop(folder, None)  # the newest stand last
            row = self._kept[folder] = _row(folder)
            self._new += 1
        stamps, error = self._damaged.get(folder, ((), ""))
        if stamps == row.stamps:
            raise DamagedError(error)
        return row.facts

    def check(self, folder: str) -> None:
        """Hold a manifest that is listed against its digest; `facts` then says what is wrong."""
        row = (self._kept or {}).get(folder)
        if row is None or row.is_checked:
            return
        try:
            read_fields(Path(folder), Listed)
        except TraceError as error:
            self._damaged[folder] = (row.stamps, str(error))
        row.is_checked = True

    def is_checked(self, folder: str) -> bool:
        """Whether there is nothing of a trace that is listed and was not checked."""
        row = (self._kept or {}).get(folder)
        return row is None or row.is_checked

    def keep(self) -> None:
        """Write what was read anew, if it was much; what cannot be written is read again."""
        if self._kept is None or self._new < WORTHWHILE:
            return
        self._new = 0
        whole = [item for item in self._kept.items() if item[0] not in self._damaged]
        try:
            write_atomic(cache_folder() / FILE, msgspec.json.encode(dict(whole[-MOST:])))
        except AttnError:  # a cache that is full or read-only
            return


def _read() -> dict[str, ListedRow]:
    try:
        return read_json(cache_folder() / FILE, dict[str, ListedRow], limit=LARGEST)
    except TraceError:  # there is none, or it is damaged
        return {}


class ListedRequest(msgspec.Struct):
    """What the list says of a request."""

    prompt: str
    seed: int = 0
    steps: int | None = None
    width: int | None = None
    height: int | None = None
    loras: tuple[Lora, ...] = ()
    interventions: tuple[Intervention, ...] = ()


class Listed(msgspec.Struct):
    """What the list says of a trace; the rest of its manifest is read when it is opened."""

    status: Status
    backend: str
    request: ListedRequest
    schema: int
    outputs: tuple[str, ...] = ()


def _row(folder: str) -> ListedRow:
    """Return what the list says of a trace, with the stamps from before it was read."""
    stamps = _stamps(folder, 1)
    listed = read_ends(folder, Listed)
    if listed is None or listed.schema > SCHEMA:
        listed = read_fields(Path(folder), Listed)
    steps = None
    if listed.status == "partial":
        stamps += (stamp_of(f"{folder}/{JOURNAL}"),)
        shards = read_journal(Path(folder, JOURNAL), Shard)
        steps = len({shard.file for shard in shards if shard.step is not None})
    return ListedRow(stamps, _facts(listed, steps, stamps), False)


def _facts(listed: Listed, steps: int | None, stamps: Stamps) -> dict[str, Any]:
    request, pictures = listed.request, image_names(listed.outputs)
    return {
        "status": listed.status,
        "steps": None if steps is None else [steps, request.steps],
        "prompt": request.prompt,
        "seed": request.seed,
        "backend": listed.backend,
        "loras": [f"{Path(lora.path).name} at {lora.scale:g}" for lora in request.loras],
        "cuts": [cut.text for cut in request.interventions],
        "size": [request.width, request.height] if request.width else None,
        "picture": pictures[0] if pictures else None,
        "written": max((stamp[0] for stamp in stamps if stamp), default=0) // 10**6,
    }


def _stamps(folder: str, count: int) -> Stamps:
    """Return what changes when a manifest, or also its journal, does."""
    return tuple(stamp_of(f"{folder}/{name}") for name in (MANIFEST, JOURNAL)[:count])
