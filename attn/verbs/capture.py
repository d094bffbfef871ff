"""`attn capture`: generate, and record what the model attends to."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.backends import Backend, Output, Session, find, load
from attn.engine.plan import Keep, Plan, make_plan
from attn.errors import AttnError, CaptureError, RequestError, TraceError, UsageError
from attn.options import parse_options
from attn.schema import Manifest, Request, Step, find_words
from attn.store import TraceWriter
from attn.verbs.collection import Entry, write_index
from attn.verbs.inputs import as_tuple, format_bytes, parse_bytes
from attn.verbs.outputs import environment, peak_memory, save_outputs
from attn.verbs.report import Report

if TYPE_CHECKING:
    import numpy as np

    from attn.trace import Trace

DEMO = "demo"
BRANCHES = {"cond": ("cond",), "uncond": ("uncond",), "both": ("cond", "uncond")}
SHOWN = 80
"""Longest piece of a cut prompt in a warning; `truncated` in the manifest holds all of it."""
STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True)
class Captured:
    """What a capture left.

    Attributes:
        path: the trace, or the collection; with `dry_run` where it would have been.
        entries: one per trace that was asked for.
        plans: what was kept of each.
        warnings: what the user should know.
    """

    path: Path
    entries: tuple[Entry, ...]
    plans: tuple[Plan, ...]
    warnings: tuple[str, ...] = ()

    @property
    def predicted_bytes(self) -> int:
        """Bytes of all folders `attention/`, as planned."""
        return sum(plan.bytes for plan in self.plans)

    @property
    def failures(self) -> tuple[Entry, ...]:
        """The traces that failed."""
        return tuple(entry for entry in self.entries if entry.status == "failed")

    @property
    def trace(self) -> Trace:
        """Open the one trace.

        Raises:
            TraceError: it is a collection; open its folders one by one.
        """
        from attn.trace import open_trace

        return open_trace(self.path)


@dataclass(frozen=True)
class _Job:
    """Everything that is known before the first forward."""

    backend: str
    session: Session
    requests: tuple[Request, ...]
    plans: tuple[Plan, ...]
    folders: tuple[Path, ...]
    out: Path
    batch: int
    options: Any
    report: Report
    opening: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    @property
    def is_collection(self) -> bool:
        return len(self.requests) > 1


def capture(  # noqa: PLR0913 - one argument per option of the command
    backend: str,
    prompt: str | Sequence[str] | None = None,
    *,
    model: str | Path | object = None,
    negative: str | None = None,
    out: str | Path | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int | Sequence[int] = 0,
    size: tuple[int, int] | None = None,
    images: int = 1,
    batch: int = 1,
    scheduler: str | None = None,
    keep: str = "maps",
    keys: str = "content",
    mass: str = "text",
    blocks: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    branch: str = "cond",
    entropy: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "none",
    budget: int | str = "8GB",
    settings: Mapping[str, str] | None = None,
    dry_run: bool = False,
    report: Report | None = None,
) -> Captured:
    """Generate from prompts and seeds, and write a trace of each: `attn capture`.

    The picture is bit for bit the one that the model makes without capture.

    Args:
        backend: name of the model family.
        prompt: one or several; None takes the example of the built-in demo model.
        model: folder, hub id, `demo`, `demo:VARIANT`, or a pipeline that is loaded already; None
            is `demo`.
        negative: what guidance pushes away from.
        out: folder for the trace or collection; it must be empty or missing.
        steps: of the sampler; None takes the model's default, as below.
        guidance: scale; 1 turns guidance off.
        size: (width, height) in pixels.
        scheduler: name of the sampler.
        seed: one or several; every prompt runs with every seed, each a trace.
        images: pictures (samples) of each trace.
        batch: how many traces are generated at once.
        keep: level of detail: `mass`, `means`, `maps`, `heads`, `factors`.
        keys: `content` or `all` columns of text keys.
        mass: `full` adds image keys and text rows.
        blocks: such as `image.text`; None is the family's default.
        layers: index ranges and globs of paths.
        branch: `cond`, `uncond` or `both`.
        entropy: also where it costs extra.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        dtype: `auto` (float32 on the CPU, else bfloat16), `float32`, `bfloat16`, `float16`.
        offload: `none`, or `model` (parts wait in main memory).
        budget: refuse to write more than this (bytes, or `8GB`).
        settings: options of the backend as KEY: VALUE.
        dry_run: plan only; no weights are loaded, nothing is written.
        report: told notes, warnings and progress.

    Returns:
        Where the traces are. In a collection, traces that failed are in `failures`.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see its subclasses; what was finished stays on disk.
    """
    report = report or Report()
    registered = find(backend)
    name = registered.spec.name
    family = load(registered)
    options = parse_options(family.Options, settings or {}, f"backend {name}")
    model = DEMO if model is None else model
    prompts = _prompts(prompt, model, family, report)
    wanted = Keep(
        level=_one_of("keep", keep, ("mass", "means", "maps", "heads", "factors")),
        keys=_one_of("keys", keys, ("content", "all")),
        mass=_one_of("mass", mass, ("text", "full")),
        blocks=_split("blocks", blocks) or None,
        layers=_split("layers", layers),
        branches=BRANCHES[_one_of("branch", branch, tuple(BRANCHES))],
        entropy=entropy,
    )
    if batch < 1:
        raise UsageError(f"batch must be at least 1; got {batch}")
    seeds = _seeds(seed)
    limit = parse_bytes(budget) if isinstance(budget, str) else budget
    target = _target(out, name, prompts[0])
    with nullcontext() if dry_run else _made(target):
        session = family.open(
            model,
            options,
            device=device,
            dtype=_one_of("dtype", dtype, ("auto", *STORED)),
            offload=_one_of("offload", offload, ("none", "model")),
            weights=not dry_run,
        )
        asked = Request(
            prompt="",
            negative=negative,
            steps=steps,
            guidance=guidance,
            width=size[0] if size else None,
            height=size[1] if size else None,
            images=images,
            scheduler=scheduler,
            options=asdict(options),
        )
        requests = tuple(
            session.complete(replace(asked, prompt=text, seed=number))
            for text in prompts
            for number in seeds
        )
        opening = _said(session)
        for warning in opening:
            report.warn(warning)
        plans = _plan(session, requests, wanted)
        folders = (
            [target / f"{place:04d}" for place in range(len(requests))]
            if len(requests) > 1
            else [target]
        )
        job = _Job(
            name,
            session,
            requests,
            plans,
            tuple(folders),
            target,
            batch,
            options,
            report,
            opening,
        )
        _check_budget(job, limit, dry_run)
        entries = _pending(job)
        if not dry_run:
            session.check()
            _refuse_unobservable(session)
            entries = _run(job, entries)
    return Captured(target, entries, plans, tuple(report.warnings))


def _run(job: _Job, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Generate batch by batch; in a collection a failing batch does not stop the others."""
    if job.is_collection:
        write_index(job.out, entries)
    for start in range(0, len(job.requests), job.batch):
        span = slice(start, start + job.batch)
        try:
            _run_batch(job, span)
            done = tuple(replace(entry, status="complete") for entry in entries[span])
        except AttnError as error:
            _remove_stepless(job, span)
            if not job.is_collection or isinstance(error, TraceError):
                raise
            done = tuple(
                replace(entry, status="failed", error=str(error)) for entry in entries[span]
            )
        entries = entries[: span.start] + done + entries[span.stop :]
        if job.is_collection:
            write_index(job.out, entries)
    return entries


def _remove_stepless(job: _Job, span: slice) -> None:
    """Take traces away again that failed before their first step; the user's own folder stays."""
    for folder in job.folders[span]:
        if folder.is_dir() and not any(folder.glob("attention/*.safetensors")):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if job.is_collection:
                folder.rmdir()


def _refuse_unobservable(session: Session) -> None:
    from attn.engine.refuse import refuse_unobservable

    for name, tower in session.towers().items():
        refuse_unobservable(tower, name)


def _run_batch(job: _Job, span: slice) -> None:
    from attn.engine.run import record

    requests, plans = job.requests[span], job.plans[span]
    began = time.monotonic()
    with ExitStack() as stack:
        drafts = [_draft(job, place) for place in range(*span.indices(len(job.requests)))]
        for warning in (text for draft in drafts for text in draft.warnings):
            job.report.warn(warning)
        writers = [
            stack.enter_context(TraceWriter(folder, draft))
            for folder, draft in zip(job.folders[span], drafts, strict=True)
        ]

        def write(trace: int, step: Step | None, tensors: Mapping[str, np.ndarray]) -> None:
            writers[trace].put(step, tensors)
            if step is not None and trace == 0:
                _progress(job, span.start, step.index)

        outputs, steps, kernels = record(
            job.session.towers(),
            plans,
            requests[0].images,
            lambda call: job.session.generate(requests, call),
            write,
        )
        _check_steps(steps, requests[0])
        for warning in job.session.warnings:
            job.report.warn(warning)
        seconds = time.monotonic() - began
        for writer, draft, output in zip(writers, drafts, outputs, strict=True):
            writer.finish(
                _finished(job, draft, output, steps, kernels, seconds / len(writers), writer.folder)
            )


def _draft(job: _Job, place: int) -> Manifest:
    """Say everything that is known before the first forward."""
    request, plan, session = job.requests[place], job.plans[place], job.session
    _said(session)
    sequences = {branch: session.sequence(request, branch) for branch in plan.branches}
    truncated = {
        branch: sequence.truncated for branch, sequence in sequences.items() if sequence.truncated
    }
    return Manifest(
        status="partial",
        backend=job.backend,
        model={
            "source": session.info.source,
            "dtype": session.info.dtype,
            "parameters": session.info.parameters,
        },
        request=request,
        branches=plan.branches,
        samples=plan.samples,
        steps=(),
        layers=tuple(entry.layer for entry in plan.layers),
        segments={branch: sequence.segments for branch, sequence in sequences.items()},
        tokens={branch: sequence.tokens for branch, sequence in sequences.items()},
        words=find_words(request.prompt),
        truncated=truncated,
        kept=plan.kept,
        identity={},
        shards=(),
        environment=environment(),
        cost={},
        warnings=(
            *job.opening,
            *_said(session),
            *(
                _cut_warning(branch, name, text)
                for branch in truncated
                for name, text in truncated[branch].items()
            ),
        ),
    )


def _said(session: Session) -> tuple[str, ...]:
    """Take the session's warnings off its list, so that each goes to the trace it is about."""
    warnings = tuple(session.warnings)
    session.warnings.clear()
    return warnings


def _finished(
    job: _Job,
    draft: Manifest,
    output: Output,
    steps: tuple[Step, ...],
    kernels: Sequence[Mapping[str, Any]],
    seconds: float,
    folder: Path,
) -> Manifest:
    return replace(
        draft,
        model={**draft.model, **job.session.info.identity()},
        steps=steps,
        outputs=save_outputs(folder, output, draft),
        identity={"kernels": list(kernels)},
        cost={
            "seconds": round(seconds, 3),
            "seconds_per_step": round(seconds / len(steps), 4),
            "peak_memory_bytes": peak_memory(),
        },
        warnings=(*draft.warnings, *job.session.warnings),
    )


def _plan(session: Session, requests: Sequence[Request], keep: Keep) -> tuple[Plan, ...]:
    layers = session.layers(requests[0])
    return tuple(
        make_plan(
            layers,
            {branch: session.sequence(request, branch) for branch in session.branches(request)},
            keep,
            samples=request.images,
            steps=request.steps or 0,
            dtype=STORED.get(session.info.dtype, "F32"),
        )
        for request in requests
    )


def _prompts(
    prompt: str | Sequence[str] | None, model: object, family: Backend, report: Report
) -> tuple[str, ...]:
    is_demo = isinstance(model, str) and model.partition(":")[0] == DEMO
    if is_demo:
        report.note(
            f"model: the built-in {model} (tiny and untrained: real attention, random weights)"
        )
    prompts = as_tuple(prompt)
    if prompts:
        return prompts
    if not is_demo:
        raise UsageError("no prompt: give one with --prompt TEXT, or several with --prompts FILE")
    report.note(f"prompt: {family.example_prompt}")
    return (family.example_prompt,)


def _seeds(seed: int | Sequence[int]) -> tuple[int, ...]:
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    wrong = [number for number in seeds if not 0 <= number < 2**32]
    if wrong or not seeds:
        raise UsageError(f"seeds: expected numbers from 0 to 2^32 - 1; got {wrong or 'none'}")
    return seeds


def _split(name: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    pieces = tuple(
        piece.strip() for text in as_tuple(value) for piece in text.split(",") if piece.strip()
    )
    if value is not None and not pieces:
        raise UsageError(f"{name}: nothing is named; leave the option out for the default")
    return pieces


def _one_of(name: str, value: str, known: Sequence[str]) -> Any:
    if value not in known:
        raise UsageError(f"{name}: expected one of {', '.join(known)}; got '{value}'")
    return value


def _target(out: str | Path | None, backend: str, prompt: str) -> Path:
    """Choose the folder, which must be new or empty."""
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].rstrip("-") or "prompt"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    target = Path(out) if out is not None else Path("attn-runs") / f"{stamp}-{backend}-{slug}"
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            what = "is not empty" if target.is_dir() else "is a file"
            raise TraceError(f"{target} {what}; choose another folder with --out, or remove it")
    except OSError as exc:
        raise _not_writable(target, exc) from exc
    return target


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder, and take it away again if it is new and nothing was written into it.

    Made before the model is loaded, so that a place that cannot be written is known at once.
    """
    is_new = not folder.exists()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".attn-probe").touch()
            (folder / ".attn-probe").unlink()
        except OSError as exc:
            raise _not_writable(folder, exc) from exc
        yield
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _not_writable(folder: Path, error: OSError) -> TraceError:
    return TraceError(
        f"cannot write into {folder}: {error.strerror or error}; choose another --out"
    )


def _check_budget(job: _Job, budget: int, dry_run: bool) -> None:
    needed = sum(plan.bytes for plan in job.plans)
    if needed > budget and not dry_run:
        raise RequestError(
            f"this capture would write {format_bytes(needed)}, more than the budget of "
            f"{format_bytes(budget)}; keep less (--keep means, fewer --layers or --blocks, "
            "--keys content), or raise --budget"
        )
    free = shutil.disk_usage(_existing(job.out)).free
    if needed > free and not dry_run:
        raise TraceError(
            f"this capture would write {format_bytes(needed)}, but only {format_bytes(free)} "
            f"are free at {job.out}; free some space, or choose another --out"
        )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _pending(job: _Job) -> tuple[Entry, ...]:
    return tuple(
        Entry(folder.name if job.is_collection else ".", "pending", request.prompt, request.seed)
        for folder, request in zip(job.folders, job.requests, strict=True)
    )


def _check_steps(steps: Sequence[Step], request: Request) -> None:
    if len(steps) != request.steps:
        raise CaptureError(f"the sampler ran {len(steps)} steps; expected {request.steps}")


def _progress(job: _Job, start: int, step: int) -> None:
    steps = job.requests[0].steps or 0
    written = sum(plan.bytes for plan in job.plans[:start]) + (step + 1) * sum(
        plan.bytes // max(plan.steps, 1) for plan in job.plans[start : start + job.batch]
    )
    batches = -(-len(job.requests) // job.batch)
    job.report.progress(start // job.batch * steps + step + 1, batches * steps, written)


def _cut_warning(branch: str, segment: str, text: str) -> str:
    which = "prompt" if branch == "cond" else "negative prompt"
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
    return f"the {which} is longer than the model's '{segment}' text; not read: \"{shown}\""
