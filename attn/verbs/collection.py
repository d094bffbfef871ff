"""A folder of traces with an index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from attn.errors import TraceError
from attn.schema import SCHEMA
from attn.store import write_atomic

INDEX = "index.json"


@dataclass(frozen=True)
class Entry:
    """One trace of a collection; `error` says why it failed."""

    folder: str
    status: Literal["pending", "complete", "failed"]
    prompt: str
    seed: int
    error: str | None = None


@dataclass(frozen=True)
class Index:
    """The contents of `index.json`, prompt-major."""

    traces: tuple[Entry, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class _Head:
    """What is read of an index before the rest is believed."""

    schema: int = SCHEMA


def is_collection(folder: Path) -> bool:
    """Whether a folder has an index of traces."""
    return (folder / INDEX).is_file()


def write_index(folder: Path, entries: tuple[Entry, ...]) -> None:
    """Write the index, whole or not at all."""
    data = msgspec.json.format(msgspec.json.encode(Index(entries)), indent=1)
    write_atomic(folder / INDEX, data + b"\n")


def read_index(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of a collection.

    Raises:
        TraceError: the index is unreadable, or from a newer schema.
    """
    path = folder / INDEX
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Head).schema
        if schema > SCHEMA:
            raise TraceError(
                f"{path} has schema {schema}; this attn reads up to {SCHEMA}: update attn"
            )
        index = msgspec.json.decode(data, type=Index)
    except (OSError, msgspec.DecodeError) as exc:
        raise TraceError(f"cannot read the collection's index {path}: {exc}") from exc
    for entry in index.traces:
        if Path(entry.folder).is_absolute() or ".." in Path(entry.folder).parts:
            raise TraceError(f"{path} names a folder outside the collection: {entry.folder}")
    return index.traces
