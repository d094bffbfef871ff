"""`attn capture`: generate, and record what the model attends to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.backends import Backend, Session, find, installed
from attn.backends.plugins.guard import attributed, capture_attributed, guarded
from attn.backends.types import Placement
from attn.engine.plan import Plan
from attn.errors import UsageError
from attn.schema import Request
from attn.verbs import checks
from attn.verbs.ablate.cuts import parse_cuts
from attn.verbs.capture.collection import Entry
from attn.verbs.capture.drawings import read_picture
from attn.verbs.capture.families import SKETCH, backend_options, complete_loras
from attn.verbs.capture.first_checks import check_drawing, check_folder, check_loras, check_model
from attn.verbs.capture.folders import choose_folder, output_folder
from attn.verbs.capture.generation import check_session, run_job, tell_warnings
from attn.verbs.capture.jobs import Job, WantedRun, check_space, list_entries, plan_job
from attn.verbs.capture.manifest import draft
from attn.verbs.capture.options import CaptureOptions, GenerationOptions, read_prompt
from attn.verbs.capture.prompt_syntax import WeightedPrompt, parse_a1111, shared_loras
from attn.verbs.capture.remains import find_previous
from attn.verbs.capture.resume import keep_finished, refuse_other_list
from attn.verbs.lora_specs import parse_stack, tell_idle
from attn.verbs.options import takes
from attn.verbs.report import Report, warn_of_failures
from attn.verbs.shards.parts import (
    JobShard,
    check_shard,
    job_part,
    parse_shard,
    shard_lock,
)
from attn.verbs.workers.crews import KeptCrew, describe_recipe, make_with, wants_crew

if TYPE_CHECKING:
    from attn.trace.trace import Trace

DEMO = "demo"


class Shared:
    """A session of several captures, opened when the first of them has checked its arguments.

    Args:
        opening: opens it.
        model: what is opened, where workers open it themselves.
        settings: options of the backend that workers open it with; None is those of a capture.
        crew: the workers of all captures.
    """

    def __init__(
        self,
        opening: Callable[[], Session],
        model: object = None,
        settings: Mapping[str, str] | None = None,
        crew: KeptCrew | None = None,
    ) -> None:
        self._opening = opening
        self.model, self.settings, self.crew = model, settings, crew

    @cached_property
    def session(self) -> Session:
        """The session."""
        return self._opening()


@dataclass(frozen=True)
class Captured:
    """What a capture left.

    Attributes:
        path: the trace, or the collection; with `dry_run` where it would have been.
        entries: one per trace that was asked for; of a shard its own.
        plans: what was kept of each that the model does not refuse.
        warnings: what the user should know.
    """

    path: Path
    entries: tuple[Entry, ...]
    plans: tuple[Plan, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return what a notebook shows: the page of what was made."""
        from attn.verbs.view import show_path

        return show_path(self.path, repr(self))

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


@takes(CaptureOptions)
def capture(options: CaptureOptions) -> Captured:
    """Generate from prompts and seeds, and write a trace of each: `attn capture`.

    The picture is bit for bit the one that the model makes without capture; with `cut` it is the
    changed model's.

    Args:
        options: see `CaptureOptions`.

    Returns:
        Where the traces are. In a collection, traces that failed are in `failures`; without a
        `report`, a Python warning names them.

    Raises:
        UsageError: an argument is wrong in itself, or `resume` finds another run.
        AttnError: see its subclasses; what was finished stays on disk.
    """
    captured = capture_with(options)
    if options.report is None:
        failed = {entry.folder: str(entry.error) for entry in captured.failures}
        warn_of_failures(failed, len(captured.entries))
    return captured


def capture_with(options: CaptureOptions) -> Captured:
    """Capture; see `capture`."""
    report = options.report or Report()
    registered = find(options.backend)
    name = registered.spec.name
    typed = read_prompt(options, options.prompt)
    _check_first(options, typed)
    for remark in installed().remarks:
        report.warn(remark)
    family = guarded(registered)
    with attributed(registered, "Options"):
        backend = backend_options(family.Options, name, options.backend_settings)
    model = family.default_model(backend) if options.model is None else options.model
    request = replace(_request(options, backend), interventions=parse_cuts(options.cut))
    request = replace(request, picture=read_picture(options))
    texts = choose_prompts(typed, model, family, report)
    prompts, negative = parse_prompts(options, texts)
    stack = parse_stack([*parse_stack(options.lora), *shared_loras(prompts)])
    if stack:  # what is wrong with a file is said before a model is loaded
        request = replace(request, loras=complete_loras(family, stack))
    for text in tell_idle(stack):
        report.warn(text)
    if negative is not None:
        request = replace(request, negative=negative.text, negative_emphasis=negative.emphasis)
    wishes = [
        replace(request, prompt=prompt.text, emphasis=prompt.emphasis, seed=seed)
        for prompt in prompts
        for seed in options.seeds
    ]
    out = None if options.out is None else Path(options.out)
    target = choose_folder(out, name, prompts[0].text)
    shard = None if options.shard is None else parse_shard(options.shard)
    with _making(target, shard, options), capture_attributed(registered):
        previous = find_previous(target, wishes) if options.goes_on else None
        if previous is not None:
            refuse_other_list(previous, name, options.batch, wishes)
        if isinstance(model, Shared):
            session = model.session
        else:
            session = open_session(family, model, backend, options)
        part = None
        if shard is not None:
            part = job_part(shard, list_entries(wishes), options.batch, report)
        wanted = WantedRun(wishes, options.wanted, target, options.batch, part)
        job = plan_job(name, session, wanted, report)
        entries = job.entries if previous is None else keep_finished(job, previous)
        check_space(job, entries, options.limit, options.dry_run)
        if options.dry_run:
            of_prompts = {(item.wish.prompt, item.wish.emphasis): item for item in job.items[::-1]}
            for item in reversed(of_prompts.values()):  # seeds warn of nothing
                tell_warnings(job, item, draft(job, item))
        else:
            report.begin(target)
            entries = _generate(job, entries, options, model)
    plans = tuple(item.plan for item in job.items)
    made = tuple(entries[index] for index in sorted(job.indices))
    return Captured(target, made, plans, tuple(report.warnings))


def _generate(
    job: Job, entries: Sequence[Entry], options: CaptureOptions, model: object
) -> tuple[Entry, ...]:
    """Generate what is pending: here, or by workers."""
    if not wants_crew(options):
        check_session(job.session)
        return run_job(job, entries)
    if all(entries[index].status != "pending" for index in job.indices):
        return run_job(job, entries)
    shared = model if isinstance(model, Shared) else Shared(lambda: job.session, model)
    settings = options.backend_settings if shared.settings is None else shared.settings
    recipe = describe_recipe(options, job.backend, settings, shared.model)
    crew = shared.crew or KeptCrew()
    try:
        make = partial(make_with, crew.open(options, recipe))
        return run_job(job, entries, make, options.workers or max(1, len(options.devices)))
    finally:
        if shared.crew is None:
            crew.close()


@contextmanager
def _making(target: Path, shard: JobShard | None, options: CaptureOptions) -> Iterator[None]:
    """Keep other processes out of the folder, or of the part of it that is made."""
    if options.dry_run:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(output_folder(target, shared=shard is not None))
        if shard is not None:
            stack.enter_context(shard_lock(target, shard))
        yield


def parse_prompts(
    options: GenerationOptions, texts: Sequence[str]
) -> tuple[list[WeightedPrompt], WeightedPrompt | None]:
    """Return prompts, and the negative one, without the syntax that they are in.

    Raises:
        UsageError: there is syntax that is not applied, or a LoRA that is not found.
    """
    negative = options.negative
    if options.prompt_syntax == "plain":
        if options.lora_dir is not None:
            raise UsageError("lora_dir is read with --prompt-syntax a1111 only")
        plain = [WeightedPrompt(text, (), ()) for text in texts]
        return plain, None if negative is None else WeightedPrompt(negative, (), ())
    folder = None if options.lora_dir is None else Path(options.lora_dir)
    prompts = [parse_a1111(text, folder) for text in texts]
    parsed = None if negative is None else parse_a1111(negative, folder)
    if parsed is not None and parsed.loras:
        raise UsageError("a LoRA in the negative prompt would act on both; name it in the prompt")
    return prompts, parsed


def open_session(
    family: Backend, model: object, options: Any, generation: GenerationOptions
) -> Session:
    """Open a model where, and as, the options say; a dry run reads no weights.

    Args:
        family: of the model.
        model: see `Backend.open`.
        options: of the family.
        generation: the others.
    """
    placement = Placement(
        "auto" if len(generation.devices) > 1 else generation.device,
        generation.dtype,
        generation.offload,
        weights=not (generation.dry_run or wants_crew(generation)),
    )
    return family.open(model, options, placement)


def _request(options: CaptureOptions, backend: Any) -> Request:
    """Return what is asked of the model, whatever the prompt and the seed."""
    width, height = options.size or (None, None)
    return Request(
        prompt="",
        negative=options.negative,
        steps=options.steps,
        guidance=options.guidance,
        width=width,
        height=height,
        images=options.images,
        scheduler=options.scheduler,
        options=asdict(backend),
        concepts=checks.concepts("concepts", options.concepts),
        frames=options.frames,
        fps=options.fps,
    )


def _check_first(options: CaptureOptions, prompts: Sequence[str] | None) -> None:
    """Refuse what is wrong whatever the family; to import that takes seconds."""
    check_model(options.model)
    parsed, _ = parse_prompts(options, prompts or ())
    loras = parse_stack(options.lora)
    check_loras([*loras, *(shared_loras(parsed) if parsed else ())])
    check_drawing(options.backend_settings.get(SKETCH))
    check_shard(options.shard, options.out)
    check_folder(options.out, resume=options.goes_on)


def choose_prompts(
    prompts: tuple[str, ...] | None, model: object, family: Backend, report: Report
) -> tuple[str, ...]:
    """Return the prompts, or the example of the built-in demo model; the report is told of both.

    Raises:
        UsageError: there is none, and the model is another one.
    """
    builtin = model if isinstance(model, str) and model.partition(":")[0] == DEMO else None
    if builtin is not None and (note := family.note_on_demo(builtin)):
        report.note(f"model: the built-in {builtin} ({note})")
    if prompts:
        return prompts
    if builtin is None:
        raise UsageError("no prompt: give one with --prompt TEXT, or several with --prompts FILE")
    report.note(f"prompt: {family.example_prompt}")
    return (family.example_prompt,)
