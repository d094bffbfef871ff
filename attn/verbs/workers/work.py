"""What crosses between a driver and its workers: plain data, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from attn.backends.types import Placement
from attn.engine.plan import Keep
from attn.schema import Request

if TYPE_CHECKING:
    from attn.verbs.capture.jobs import JobItem


@dataclass(frozen=True)
class RunRecipe:
    """All that a worker needs to know of a run, before the first batch.

    Attributes:
        backend: name of the family.
        settings: its options as KEY: VALUE.
        model: what is opened.
        placement: where; a worker may have a device of its own.
        keep: what is kept of the attention.
        threads: that torch computes with, the same everywhere, since they decide last bits.
    """

    backend: str
    settings: dict[str, str]
    model: str
    placement: Placement
    keep: Keep
    threads: int = 1


@dataclass(frozen=True)
class ReadRecipe:
    """All that a worker needs to know to look at traces that are there.

    Attributes:
        verb: which is done with them.
        options: of the verb, as a caller in Python would give them.
        runs: folders, where the verb takes several.
    """

    verb: Literal["analyze", "compare", "evaluate"]
    options: dict[str, Any]
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerRecipe:
    """What a worker is for: to make traces, or to look at some."""

    run: RunRecipe | None = None
    reads: ReadRecipe | None = None


@dataclass(frozen=True)
class BatchMember:
    """A trace of a batch.

    Attributes:
        index: of all that were asked for.
        folder: of the trace.
        request: as it was asked for; nothing of one that is only looked at.
        is_missing: whether it is written; others only decide the last bits of those that are.
    """

    index: int
    folder: str
    request: Request | None
    is_missing: bool


@dataclass(frozen=True)
class BatchAnswer:
    """What became of a batch.

    Attributes:
        errors: by index; None is for a trace that is complete.
        warnings: of the traces, each with the trace that it is about, or nothing.
        ended: why nothing more can be made there: the model is gone, or the disk is full.
    """

    errors: dict[int, str | None] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()
    ended: str | None = None


def encode(value: object) -> bytes:
    """Return what crosses, as a line of JSON; names of files may hold what is no UTF-8."""
    return json.dumps(msgspec.to_builtins(value)).encode("ascii")


def decode(line: bytes, kind: Any) -> Any:
    """Return what crossed, of a type of this module."""
    return msgspec.convert(json.loads(line), kind, str_keys=True)


BatchMembers = tuple[BatchMember, ...]


def describe_batch(batch: tuple[JobItem, ...], missing: tuple[JobItem, ...]) -> BatchMembers:
    """Return a batch as it is sent to a worker."""
    return tuple(
        BatchMember(item.index, str(item.folder.absolute()), item.wish, item in missing)
        for item in batch
    )
