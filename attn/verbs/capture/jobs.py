"""A capture as it is planned: every trace with what is asked and kept of it, before any forward."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
from rich import filesize

from attn.backends import ModelInfo, Session
from attn.backends.plugins.registry import takers
from attn.engine.concepts.plans import with_concepts
from attn.engine.layer_plans import BlockPlan
from attn.engine.plan import Keep, Plan, make_plan
from attn.errors import RequestError, TraceError
from attn.files.disk import as_utf8, encode_json
from attn.schema import Kept, Layer, Request, Segment
from attn.schema import Sequence as TokenSequence
from attn.trace.store import is_shard
from attn.verbs.ablate.treatments import make_treatment
from attn.verbs.capture.collection import Entry, Run
from attn.verbs.capture.folders import free_bytes
from attn.verbs.report import Report

STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


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
        journal: of the part of the run that is made, in a run of several parts; the items are
            those of the part only.
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
    journal: str | None = None

    @property
    def indices(self) -> frozenset[int]:
        """Indices of the traces that are made here: all, or those of one part of the run."""
        if self.journal is None:
            return frozenset(range(len(self.entries)))
        return frozenset(item.index for item in self.items)


def plan_job(
    backend: str,
    session: Session,
    wishes: Sequence[Request],
    keep: Keep,
    out: Path,
    batch: int,
    report: Report,
) -> Job:
    """Complete every request and decide what is kept of it.

    Raises:
        RequestError: the model can do none of them; if it can do some, the others are `failed`.
    """
    _refuse_weights(session, wishes)
    _refuse_pictures(backend, session, wishes)
    _refuse_concepts(backend, session, wishes)
    _refuse_frames(backend, session, wishes)
    requests: dict[int, Request] = {}
    refused: dict[int, RequestError] = {}
    for index, wish in enumerate(wishes):
        try:
            requests[index] = session.complete(wish)
        except RequestError as error:
            refused[index] = error
    plans: dict[int, Plan] = {}
    planner = _Planner(session, keep)
    for index, request in requests.items():
        try:
            plan = planner.plan(request)
            make_treatment(session, [request])  # raises what is wrong with a cut
            plans[index] = plan
        except RequestError as error:
            refused[index] = error
    if not plans:
        raise refused[0]
    names = folder_names(len(wishes))
    entries = tuple(
        Entry(name, "failed", wish.prompt, wish.seed, str(refused[index]))
        if index in refused
        else Entry(name, "pending", wish.prompt, wish.seed)
        for index, (name, wish) in enumerate(zip(names, wishes, strict=True))
    )
    items = tuple(
        JobItem(
            index,
            requests[index],
            wishes[index],
            plan,
            out / names[index],
            (*session.warnings, *session.remarks(wishes[index], requests[index])),
        )
        for index, plan in plans.items()
    )
    opening = _common([item.warnings for item in items])
    for warning in opening:
        report.warn(warning)
    kept = items[0].plan.kept, items[0].plan.branches
    run = describe_run(backend, describe_model(session.info), items[0].request, kept, batch)
    is_collection = len(entries) > 1
    return Job(*(backend, session, out, entries, items, batch, report, opening, is_collection, run))


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
    shared = set(warnings[0]).intersection(*warnings[1:])
    return tuple(dict.fromkeys(warning for warning in warnings[0] if warning in shared))


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


class _Planner:
    """Plans the traces of a run; what those of other prompts have in common is there once.

    Plans depend on how many words there are, not on which: all traces whose sequences are laid out
    alike have the same plan.
    """

    def __init__(self, session: Session, keep: Keep) -> None:
        self._session, self._keep = session, keep
        self._layers: dict[tuple[Segment, ...], Sequence[Layer]] = {}
        self._plans: dict[Hashable, Plan] = {}
        self._places: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def plan(self, request: Request) -> Plan:
        """Plan a trace.

        Raises:
            RequestError: what is to be kept does not exist.
        """
        session = self._session
        sequences = {
            branch: session.sequence(request, branch) for branch in session.branches(request)
        }
        key = request.images, request.steps, *map(_layout, sequences.values()), *sequences
        if key not in self._plans:
            segments = next(iter(sequences.values())).segments
            if segments not in self._layers:
                self._layers[segments] = session.layers(request)
            plan = make_plan(
                self._layers[segments],
                sequences,
                self._keep,
                samples=request.images,
                steps=request.steps or 0,
                dtype=STORED.get(session.info.dtype, "F32"),
                spans=session.spans(request),
            )
            if request.concepts:
                lengths = session.concept_lengths(request)
                plan = with_concepts(plan, session.concept_modules(request), lengths)
            self._plans[key] = self._share(plan)
        return self._plans[key]

    def _share(self, plan: Plan) -> Plan:
        """Let plans have their long lists of positions in common."""

        def shared(block: BlockPlan) -> BlockPlan:
            queries, keys, groups = (
                self._places.setdefault(value, value)
                for value in (block.queries, block.keys, block.groups)
            )
            return replace(block, queries=queries, keys=keys, groups=groups)

        layers = (replace(entry, blocks=tuple(map(shared, entry.blocks))) for entry in plan.layers)
        return replace(plan, layers=tuple(layers))


def _layout(sequence: TokenSequence) -> Hashable:
    """Return all of a sequence that a plan depends on."""
    positions = tuple(
        (token.segment, token.position, token.is_content) for token in sequence.tokens
    )
    return sequence.segments, positions


_PER_TRACE = {"prompt", "seed", "emphasis"}
"""What a request has for itself."""
