"""A capture as it is planned: every trace with what is asked and kept of it, before any forward."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
from rich import filesize

from attn.backends import ModelInfo, Session
from attn.backends.plugins.registry import takers
from attn.engine.plan import Keep, Plan
from attn.errors import RequestError, TraceError
from attn.files.disk import as_utf8, encode_json
from attn.schema import Kept, Request
from attn.trace.store import is_shard
from attn.verbs.capture.collection import Entry, Run
from attn.verbs.capture.folders import free_bytes
from attn.verbs.capture.planning import Planner
from attn.verbs.report import Report


@dataclass(frozen=True)
class JobItem:
    """One trace that can be made.

    Attributes:
        index: of all that were asked for.
        request: completed.
        wish: the request as it was asked for.
        plan: what is kept.
        folder: of the trace.
        warnings: of the model, and of the request.
    """

    index: int
    request: Request
    wish: Request
    plan: Plan
    folder: Path
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobPart:
    """A part of a run.

    Attributes:
        indices: of its traces.
        journal: name of the file that says what became of them.
    """

    indices: frozenset[int]
    journal: str


@dataclass(frozen=True)
class Job:
    """Everything that is known before the first forward.

    Attributes:
        backend: name of the family.
        session: the loaded model.
        out: folder of the trace or the collection.
        entries: one per trace that was asked for; `failed` is what the model refuses.
        items: the others.
        batch: how many traces are generated at once.
        report: told notes, warnings and progress.
        opening: the warnings that all traces share.
        is_collection: whether several traces were asked for.
        run: what all traces share.
        part: of the run that is made, in a run of several parts; the items are those of it only,
            and of other parts nothing is known but what was asked for.
    """

    backend: str
    session: Session
    out: Path
    entries: tuple[Entry, ...]
    items: tuple[JobItem, ...]
    batch: int
    report: Report
    opening: tuple[str, ...]
    is_collection: bool
    run: Run
    part: JobPart | None = None

    @property
    def indices(self) -> Collection[int]:
        """Indices of the traces that are made here: all, or those of one part of the run."""
        return range(len(self.entries)) if self.part is None else self.part.indices

    @property
    def journal(self) -> str | None:
        """Name of the journal of a part."""
        return None if self.part is None else self.part.journal


@dataclass(frozen=True)
class WantedRun:
    """What is asked for.

    Attributes:
        wishes: a request for each trace; they differ in prompts, weights of words and seeds only.
        keep: what is kept of each.
        out: folder of the trace or the collection.
        batch: how many traces are generated at once.
        part: of the run that is planned; None is all of it.
    """

    wishes: Sequence[Request]
    keep: Keep
    out: Path
    batch: int
    part: JobPart | None = None


def plan_job(backend: str, session: Session, wanted: WantedRun, report: Report) -> Job:
    """Complete every request and decide what is kept of it.

    Raises:
        RequestError: the model can do none of them; if it can do some, the others are `failed`.
    """
    wishes, out, batch, part = wanted.wishes, wanted.out, wanted.batch, wanted.part
    _refuse_weights(session, wishes)
    _refuse_pictures(backend, session, wishes)
    _refuse_concepts(backend, session, wishes)
    _refuse_frames(backend, session, wishes)
    planner = Planner(session, wanted.keep)
    entries = list(list_entries(wishes))
    items: list[JobItem] = []
    for index in range(len(wishes)) if part is None else sorted(part.indices):
        try:
            request, plan, warnings = planner.plan(wishes[index])
        except RequestError as error:
            entries[index] = replace(entries[index], status="failed", error=str(error))
        else:
            folder = out / entries[index].folder
            items.append(JobItem(index, request, wishes[index], plan, folder, warnings))
    first, plan = planner.plan_first(wishes)
    opening = _common([item.warnings for item in items])
    for warning in opening:
        report.warn(warning)
    kept = plan.kept, plan.branches
    run = describe_run(backend, describe_model(session.info), first, kept, batch)
    of = backend, session, out, tuple(entries), tuple(items), batch, report, opening
    return Job(*of, is_collection=len(entries) > 1, run=run, part=part)


def _refuse_weights(session: Session, wishes: Sequence[Request]) -> None:
    """Refuse weights of words that would not be applied.

    Raises:
        RequestError: the session applies none.
    """
    if not session.weighs_words and any(w.emphasis or w.negative_emphasis for w in wishes):
        raise RequestError(
            "this backend applies no weights of words: leave --prompt-syntax a1111 out, and give "
            "the prompt without them"
        )


def _refuse_pictures(backend: str, session: Session, wishes: Sequence[Request]) -> None:
    """Refuse pictures that would not be shown to the model.

    Raises:
        RequestError: names the backend.
    """
    if not session.shows_pictures and any(wish.picture for wish in wishes):
        raise RequestError(
            f"backend '{backend}' shows its model no picture that exists: it has no VAE, or its "
            "library no pipeline for that; leave --picture out"
        )


def _refuse_frames(backend: str, session: Session, wishes: Sequence[Request]) -> None:
    """Refuse frames of a model that draws pictures, or writes.

    Raises:
        RequestError: names the backend, and those that draw videos.
    """
    options = {"--frames": wishes[0].frames, "--fps": wishes[0].fps}
    named = [name for name, value in options.items() if value is not None]
    if named and not session.draws_videos:
        able = ", ".join(f"--backend {taker.spec.name}" for taker in takers("frames"))
        raise RequestError(
            f"backend '{backend}' draws no videos, so {' and '.join(named)} would have no effect: "
            f"leave that out, or take {able}"
        )


def _refuse_concepts(backend: str, session: Session, wishes: Sequence[Request]) -> None:
    """Refuse concepts where the model has no layers that could read them.

    Raises:
        RequestError: names the backend.
    """
    if not wishes[0].concepts:
        return
    if not session.concept_modules(session.complete(replace(wishes[0], concepts=()))):
        raise RequestError(
            f"backend '{backend}' keeps no maps of concepts: it has no layers in which a word "
            "could be read beside the prompt; leave --concepts out, or name the words in the prompt"
        )


def _common(warnings: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the warnings that are in all lists, in the order of the first."""
    different = tuple(dict.fromkeys(warnings))
    shared: set[str] = set(*different[:1]).intersection(*different[1:])
    return tuple(dict.fromkeys(text for text in next(iter(different), ()) if text in shared))


def list_entries(wishes: Sequence[Request]) -> tuple[Entry, ...]:
    """Return what the index of a run says before any of its traces is made."""
    names = folder_names(len(wishes))
    return tuple(
        Entry(name, "pending", wish.prompt, wish.seed)
        for name, wish in zip(names, wishes, strict=True)
    )


def folder_names(count: int) -> list[str]:
    """Return the folders of a run's traces, relative to the run's folder."""
    return [f"{index:04d}" for index in range(count)] if count > 1 else ["."]


def describe_model(info: ModelInfo) -> dict[str, Any]:
    """Return the facts about a model that need no hashing."""
    return {
        "source": as_utf8(info.source),
        "dtype": info.dtype,
        "parameters": info.parameters,
    }


def describe_run(
    backend: str,
    model: Mapping[str, Any],
    request: Request,
    kept: tuple[Kept, tuple[str, ...]],
    batch: int | None,
) -> Run:
    """Describe what the traces of a run share, in the form that files have it."""
    shared = {name: value for name, value in asdict(request).items() if name not in _PER_TRACE}
    level = {name: value for name, value in asdict(kept[0]).items() if name != "columns"}
    run = Run(backend, batch, dict(model), shared, level | {"branches": kept[1]})
    return msgspec.json.decode(encode_json(run), type=Run)


def missing_bytes(job: Job, entries: Sequence[Entry]) -> int:
    """Return the bytes of all folders `attention/` that are still to be written."""
    return sum(item.plan.bytes for item in job.items if entries[item.index].status == "pending")


def growth(job: Job, entries: Sequence[Entry]) -> int:
    """Return by how many bytes the run will grow at most.

    What a trace that is made again has of shards is removed before its new ones are written.
    """
    pending = (item for item in job.items if entries[item.index].status == "pending")
    grown = accumulate(item.plan.bytes - _shard_bytes(item.folder) for item in pending)
    return max(grown, default=0)


def _shard_bytes(folder: Path) -> int:
    """Return the bytes of the shards in a trace."""
    with suppress(OSError):  # there are none yet
        shards = (path for path in (folder / "attention").iterdir() if is_shard(path))
        return sum(path.stat().st_size for path in shards)
    return 0


def check_space(job: Job, entries: Sequence[Entry], budget: int, dry_run: bool) -> None:
    """Refuse to write more than is allowed or free; a dry run only warns.

    Raises:
        RequestError: more than the budget.
        TraceError: more than the disk has free.
    """
    needed, grown = missing_bytes(job, entries), growth(job, entries)
    free = free_bytes(job.out)
    errors = [
        RequestError(
            f"this capture would write {filesize.decimal(needed)}, more than the budget of "
            f"{filesize.decimal(budget)}; keep less (--keep means, fewer --layers or --blocks, "
            "--keys content), or raise --budget"
        )
        if needed > budget
        else None,
        TraceError(
            f"this capture would write {filesize.decimal(grown)}, but only "
            f"{filesize.decimal(free)} are free at {job.out}; free some space, or choose another "
            "--out"
        )
        if grown > free
        else None,
    ]
    for error in filter(None, errors):
        if not dry_run:
            raise error
        job.report.warn(str(error))


_PER_TRACE = {"prompt", "seed", "emphasis"}
"""What a request has for itself."""
