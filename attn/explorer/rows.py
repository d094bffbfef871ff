"""What the index says of traces, kept from one look to the next while their manifests stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from attn.choices import Status
from attn.errors import AttnError
from attn.files.cache import cache_folder
from attn.files.disk import read_journal, write_atomic
from attn.schema import Request, Shard, image_names
from attn.trace.store import JOURNAL, read_fields

Stamps = tuple[tuple[int, int, int], ...]
"""Time, size and number of a trace's manifest, and of its journal while it is not finished."""
FILE = "explorer/rows.json"
MOST = 50_000
"""Traces that are kept; of more, those that were read last."""
WORTHWHILE = 20
"""Traces that were read anew, from which on the file is written again."""


class Rows:
    """Reads each trace once, and again when its manifest has changed."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Stamps, dict[str, Any]]] | None = None
        self._new = 0

    def row(self, folder: Path, stamps: Stamps) -> dict[str, Any]:
        """Return what the index says of a trace.

        Raises:
            TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
        """
        if self._kept is None:
            self._kept = _read()
        before, facts = self._kept.get(str(folder), ((), {}))
        if before != stamps:
            facts = _facts(folder, stamps)
            self._kept.pop(str(folder), None)  # the newest stand last
            self._kept[str(folder)] = (stamps, facts)
            self._new += 1
        return facts

    def keep(self) -> None:
        """Write what was read anew, if it was much; what cannot be written is read again."""
        if self._kept is None or self._new < WORTHWHILE:
            return
        self._new = 0
        kept = dict(list(self._kept.items())[-MOST:])
        try:
            write_atomic(cache_folder() / FILE, msgspec.json.encode(kept))
        except AttnError:  # a cache that is full or read-only
            return


def _read() -> dict[str, tuple[Stamps, dict[str, Any]]]:
    kind = dict[str, tuple[Stamps, dict[str, Any]]]
    try:
        return msgspec.json.decode((cache_folder() / FILE).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return {}


class Listed(msgspec.Struct):
    """What the index says of a trace; the rest of its manifest is read when it is opened."""

    status: Status
    backend: str
    request: Request
    shards: tuple[Shard, ...]
    outputs: tuple[str, ...] = ()


def _facts(folder: Path, stamps: Stamps) -> dict[str, Any]:
    manifest = read_fields(folder, Listed)
    request, pictures = manifest.request, image_names(manifest.outputs)
    is_partial = manifest.status == "partial"
    shards = read_journal(folder / JOURNAL, Shard) if is_partial else manifest.shards
    steps = {shard.file for shard in shards if shard.step is not None}
    return {
        "status": manifest.status,
        "steps": [len(steps), request.steps],
        "prompt": request.prompt,
        "seed": request.seed,
        "backend": manifest.backend,
        "loras": [f"{Path(lora.path).name} at {lora.scale:g}" for lora in request.loras],
        "size": [request.width, request.height] if request.width else None,
        "picture": pictures[0] if pictures else None,
        "written": max((stamp[0] for stamp in stamps), default=0) // 10**6,
    }
