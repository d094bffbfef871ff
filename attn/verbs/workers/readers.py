"""Traces that are looked at by several processes, before one puts together what they left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from attn.errors import UsageError
from attn.files.names import is_url
from attn.trace.store import open_files
from attn.verbs.report import ItemCounts, Report
from attn.verbs.shards.parts import parse_shard
from attn.verbs.workers.drive import Crew, drive
from attn.verbs.workers.work import BatchMember, ReadRecipe, WorkerRecipe

if TYPE_CHECKING:
    from attn.verbs.capture.collection import Entry

DRIVERS = ("shard", "workers", "engine", "report")
"""Options that only the process that puts together has."""


class ReadingOptions(Protocol):
    """Options of a verb that reads many traces."""

    @property
    def shard(self) -> str | None:
        """Which part of the traces."""

    @property
    def workers(self) -> int | None:
        """How many processes."""

    @property
    def engine(self) -> Literal["local", "ray"]:
        """Where they are."""


def wants_readers(options: ReadingOptions) -> bool:
    """Whether other processes look at the traces first."""
    return options.workers is not None or options.engine == "ray"


def refuse_single(options: ReadingOptions, folder: Path) -> None:
    """Refuse to part what is one trace.

    Raises:
        UsageError: says so.
        TraceError: there is none.
    """
    for name in ("shard", "workers"):
        if getattr(options, name) is not None:
            open_files(folder)
            raise UsageError(f"{name}: {folder} is a single trace, which nobody can share")


def describe_reads(
    verb: Literal["analyze", "compare", "evaluate"], options: Any, runs: Sequence[Path] = ()
) -> ReadRecipe:
    """Return the recipe of a verb's options; paths are made absolute, since nodes differ."""
    given: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value is None or field.name in DRIVERS or value == field.default:
            continue
        if not is_url(value) and (isinstance(value, Path) or field.name in ("path", "out")):
            value = str(Path(value).absolute())
        given[field.name] = dict(value) if isinstance(value, Mapping) else value
    return ReadRecipe(verb, given, tuple(str(run.absolute()) for run in runs))


def own_part(options: ReadingOptions, entries: Sequence[Entry]) -> list[int]:
    """Return the indices of the traces of a part."""
    shard = parse_shard(str(options.shard))
    own = shard.part([entry] for entry in entries)
    return [index for index, entry in enumerate(entries) if entry.folder in own]


def read_with_workers(
    options: ReadingOptions, recipe: ReadRecipe, names: Iterable[str], report: Report
) -> dict[int, str]:
    """Have all traces of a run looked at.

    Args:
        options: of the workers.
        recipe: what they do.
        names: of the traces, in their order.
        report: told warnings and progress.

    Returns:
        Why some could not be, by index: workers are lost with them.

    Raises:
        CaptureError: no worker can be had.
    """
    members = [(BatchMember(at, name, None, True),) for at, name in enumerate(names)]
    lost: dict[int, str] = {}
    done = 0
    with _start(options, recipe) as crew:
        for answer in drive(crew, members):
            for text, about in answer.warnings:
                report.warn(text, about)
            lost |= {at: error for at, error in answer.errors.items() if error is not None}
            done += len(answer.errors)
            report.items(ItemCounts(done - len(lost), len(lost), len(members) - done))
    return lost


def _start(options: ReadingOptions, recipe: ReadRecipe) -> AbstractContextManager[Crew]:
    if options.engine == "ray":
        from attn.verbs.workers.cluster import RayCrew

        return RayCrew(WorkerRecipe(reads=recipe), options.workers, 0.0)
    from attn.verbs.workers.local import LocalCrew

    return LocalCrew(WorkerRecipe(reads=recipe), options.workers or 1, ())
