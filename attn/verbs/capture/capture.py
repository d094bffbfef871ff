"""`attn capture`: generate, and record what the model attends to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attn.backends import Backend, Session, find, installed
from attn.backends.plugins.guard import blamed, guarded, signed
from attn.engine.plan import Plan
from attn.errors import UsageError
from attn.schema import Request
from attn.verbs.capture import arguments as check
from attn.verbs.capture.collection import Entry
from attn.verbs.capture.folders import choose_folder, output_folder, refuse_contents, refuse_parts
from attn.verbs.capture.generation import run_job
from attn.verbs.capture.jobs import check_space, plan_job
from attn.verbs.capture.remains import find_previous
from attn.verbs.capture.resume import keep_finished, refuse_other_list
from attn.verbs.compare.lora_specs import Spec, parse_stack
from attn.verbs.report import Report, warn_of_failures

if TYPE_CHECKING:
    from attn.trace.trace import Trace

DEMO = "demo"


class Shared:
    """A session of several captures, opened when the first of them has checked its arguments."""

    def __init__(self, opening: Callable[[], Session]) -> None:
        self._opening = opening

    @cached_property
    def session(self) -> Session:
        """The session."""
        return self._opening()


@dataclass(frozen=True)
class Captured:
    """What a capture left.

    Attributes:
        path: the trace, or the collection; with `dry_run` where it would have been.
        entries: one per trace that was asked for.
        plans: what was kept of each that the model does not refuse.
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
        from attn.trace.trace import open_trace

        return open_trace(self.path)


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
    lora: Spec | Sequence[Spec] | None = None,
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
    resume: bool = False,
    report: Report | None = None,
) -> Captured:
    """Generate from prompts and seeds, and write a trace of each: `attn capture`.

    The picture is bit for bit the one that the model makes without capture.

    Args:
        backend: name of the model family.
        prompt: one or several; None takes the example of the built-in demo model.
        model: folder, `.safetensors` file, hub id, `demo`, `demo:VARIANT`, a pipeline that is
            loaded already, or a session of this backend that captures share; None is the denoiser
            that `settings` name, else `demo`.
        negative: what guidance pushes away from; `default` is a common text for illustrations.
        out: folder for the trace or collection; it must be empty or missing, but see `resume`.
        steps: of the sampler; None takes the model's default, as below.
        guidance: scale; 1 turns guidance off.
        size: (width, height) in pixels.
        scheduler: name of the sampler.
        lora: one LoRA or several that are added up, each a path, `"FILE:SCALE"`, or
            (path, scale), where scale may be one by part: `{"unet": 0.8, "te": 0.4}`.
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
        resume: `out` may hold an earlier run of the same capture; what is complete in it is kept,
            after a check, the rest is made, and all is as if the run had not been broken.
        report: told notes, warnings and progress.

    Returns:
        Where the traces are. In a collection, traces that failed are in `failures`; without a
        `report`, a Python warning names them.

    Raises:
        UsageError: an argument is wrong in itself, or `resume` finds another run.
        AttnError: see its subclasses; what was finished stays on disk.
    """
    told, report = report, report or Report()
    registered = find(check.text("backend", backend))
    name = registered.spec.name
    for remark in installed().remarks:
        report.warn(remark)
    family = guarded(registered)
    with signed(registered, "Options"):
        options = check.backend_options(family.Options, name, check.pairs(settings or {}))
    model = family.default_model(options) if model is None else model
    width, height = check.optional(check.size, "size", size) or (None, None)
    request = Request(
        prompt="",
        negative=check.optional(check.negative, "negative", negative),
        steps=check.optional(check.whole, "steps", steps),
        guidance=check.optional(check.number, "guidance", guidance),
        width=width,
        height=height,
        images=check.whole("images", images),
        scheduler=check.optional(check.text, "scheduler", scheduler),
        options=asdict(options),
    )
    stack = parse_stack(lora)
    if stack:  # what is wrong with a file is said before a model is loaded
        request = replace(request, loras=check.complete_loras(family, stack))
    prompts = choose_prompts(check.optional(check.texts, "prompt", prompt), model, family, report)
    keeping = check.wanted(
        keep=keep,
        keys=keys,
        mass=mass,
        blocks=blocks,
        layers=layers,
        branch=branch,
        entropy=entropy,
    )
    batch, seeds, limit = check.batch_size(batch), check.seeds(seed), check.byte_limit(budget)
    wishes = [replace(request, prompt=text, seed=seed) for text in prompts for seed in seeds]
    folder = check.optional(check.folder, "out", out)
    if check.switch("resume", resume) and folder is None:
        raise UsageError("resume: say which folder to go on with, with --out DIR")
    if folder is not None:
        refuse_parts(folder)
    target = choose_folder(folder, name, prompts[0])
    if not resume:
        refuse_contents(target)
    making = nullcontext() if check.switch("dry_run", dry_run) else output_folder(target)
    with making, blamed(registered):
        previous = find_previous(target, wishes) if resume else None
        if previous is not None:
            refuse_other_list(previous, name, batch, wishes)
        placing = {
            "device": check.text("device", device),
            "dtype": check.one_of("dtype", dtype, check.DTYPES),
            "offload": check.one_of("offload", offload, check.OFFLOADS),
        }
        if isinstance(model, Shared):
            session = model.session
        else:
            session = family.open(model, options, **placing, weights=not dry_run)
        job = plan_job(name, session, wishes, keeping, target, batch, report)
        entries = job.entries if previous is None else keep_finished(job, previous)
        check_space(job, entries, limit, dry_run)
        if not dry_run:
            report.begin(target)
            entries = run_job(job, entries)
    plans = tuple(item.plan for item in job.items)
    captured = Captured(target, entries, plans, tuple(report.warnings))
    if told is None:
        failed = {entry.folder: str(entry.error) for entry in captured.failures}
        warn_of_failures(failed, len(entries))
    return captured


def choose_prompts(
    prompts: tuple[str, ...] | None, model: object, family: Backend, report: Report
) -> tuple[str, ...]:
    """Return the prompts, or the example of the built-in demo model; the report is told of both.

    Raises:
        UsageError: there is none, and the model is another one.
    """
    builtin = model if isinstance(model, str) and model.partition(":")[0] == DEMO else None
    if builtin is not None:
        report.note(f"model: the built-in {builtin} ({family.note_on_demo(builtin)})")
    if prompts:
        return prompts
    if builtin is None:
        raise UsageError("no prompt: give one with --prompt TEXT, or several with --prompts FILE")
    report.note(f"prompt: {family.example_prompt}")
    return (family.example_prompt,)
