"""`attn compare`: what differs between runs, word by word, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import AnalysisError, AttnError, UsageError, did_you_mean
from attn.files.disk import is_file
from attn.files.results import COMPARISON, is_unmarked, refuse_others
from attn.options import parse_options
from attn.schema import UNCOND
from attn.verbs import checks
from attn.verbs.capture.collection import Entry, is_collection
from attn.verbs.capture.families import SKETCH
from attn.verbs.capture.folders import choose_folder, refuse_parts
from attn.verbs.capture.options import GenerationOptions
from attn.verbs.compare.compared import Compared
from attn.verbs.compare.controls.triggers import require_triggers
from attn.verbs.compare.options import CompareOptions, takes_runs
from attn.verbs.compare.pairing import FOLDER, ComparedRun, open_runs
from attn.verbs.compare.pieces import KeptReadings, look_at_pairs
from attn.verbs.compare.requirements import require_in_plan, require_in_prompts
from attn.verbs.compare.results import ComparedSources, compare_runs
from attn.verbs.compare.runs.leak_runs import refuse_lone_options
from attn.verbs.compare.runs.lora_files import find_lora_files
from attn.verbs.compare.runs.lora_runs import generate
from attn.verbs.compare.runs.sketch_runs import generate_sketches
from attn.verbs.compare.runs.variant_runs import Generated, Required
from attn.verbs.parsing import as_tuple
from attn.verbs.report import Report
from attn.verbs.shards.parts import check_shard
from attn.verbs.workers.readers import own_part, read_with_workers, refuse_single, wants_readers
from attn.verbs.workers.work import ReadRecipe
from attn.wording import count_noun

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.lora import LoraFile

PREFIX = "compare."
CHOOSING = ("layers", "steps", "branch")
"""What both a capture and a comparison can be limited to."""
CONTROLS = ("null", "leak", "by_block", "leave_one_out")
"""Options that add runs to those of LoRAs."""
FEWEST = 2
"""Runs that can be compared: a baseline and a variant."""


@takes_runs(CompareOptions)
def compare(*runs: str | Path, **arguments: Any) -> Compared:
    """Compare traces or collections with a baseline, or a model with LoRAs: `attn compare`.

    Results go to `comparison` in `out`, where those of an earlier comparison are replaced. With
    `lora` or `sketch`, `out` must be empty or missing, and the traces go to one folder per variant
    in it; with `dry_run` nothing is compared.

    Args:
        runs: folders of traces or collections, the first of which is the baseline; traces are
            paired by prompt and seed.
        arguments: see `CompareOptions`.

    Raises:
        UsageError: an argument is wrong in itself.
        AnalysisError: nothing can be compared: no common prompt, word or step.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    options = CompareOptions(**arguments)
    report = options.report or Report()
    prefixed, rest = _split_settings(options)
    selection = parse(options.words, options.phrases, options.pooling, prefixed)
    parts = parse_parts(options.only)
    if [bool(runs), options.lora is not None, options.sketch is not None].count(True) > 1:
        raise UsageError("give runs, --lora or --sketch, not several of them")
    _refuse_controls(options)
    refuse_folder(options.out, report)
    made: Generated | None = None
    kept: KeptReadings | None = None
    files: Mapping[str, LoraFile] = {}
    if options.lora is not None or options.sketch is not None:
        made = _generate(options, rest, report, _required(options, selection, parts, rest))
        if options.dry_run:
            return planned(made, report)
        if options.shard is not None:
            return made_in_part(made, options.shard, report)
        target, opened, files = made.path, made.runs(), made.files
    else:
        _refuse_generating(arguments, rest)
        if len(runs) < FEWEST:
            raise UsageError("name what is compared with the baseline: attn compare BASE VARIANT")
        check_shard(options.shard, options.out)
        opened = open_runs([checks.folder("run", run) for run in runs])
        folder = None if options.out is None else Path(options.out)
        target = choose_folder(folder, "compare", opened[0].members[0].prompt)
        files = find_lora_files(opened, report) if parts is None else {}
        kept = KeptReadings(target, selection)
        if not is_collection(opened[0].path):
            refuse_single(options, opened[0].path)
        if options.shard is not None:
            return _read_part(opened, options, selection, kept, report)
        if wants_readers(options):
            _read_with_workers(opened, options, target, report)
    try:
        done = compare_runs(
            *(opened, selection, parts, target / FOLDER),
            pictures=options.pictures,
            report=report,
            sources=ComparedSources(files, None if kept is None else kept.read),
        )
    except AttnError as error:
        if made is None:
            raise
        runs_of = " ".join(str(run.path) for run in opened)
        raise type(error)(f"{error} (the traces can be used: attn compare {runs_of})") from error
    if kept is not None:
        kept.forget()
    return done


def _read_part(
    runs: Sequence[ComparedRun],
    options: CompareOptions,
    selection: PairOptions,
    kept: KeptReadings,
    report: Report,
) -> Compared:
    """Read the traces of one shard; runs are compared when all are read."""
    base = runs[0]
    own = own_part(options, [Entry(str(at), "complete", *of) for at, of in _named(base)])
    look = look_at_pairs(runs, selection, kept)
    for index in own:
        try:
            look(index)
        except AttnError as error:
            report.warn(str(error), base.members[index].folder.name)
    told = (
        f"Shard {options.shard}: {len(own)} of {count_noun(len(base.members), 'trace')} of "
        f"{base.label}, and what is compared with them, are read. When all shards are done, the "
        "same command without --shard compares the runs."
    )
    return Compared(
        Path(str(options.out)), base.label, {}, {}, (), tuple(report.warnings), answer=told
    )


def _named(run: ComparedRun) -> Iterator[tuple[int, tuple[str, int]]]:
    return ((at, (of.prompt, of.seed)) for at, of in enumerate(run.members))


def _read_with_workers(
    runs: Sequence[ComparedRun], options: CompareOptions, target: Path, report: Report
) -> None:
    given = {name: getattr(options, name) for name in ("words", "phrases", "pooling")}
    settings, _ = _split_settings(options)
    given |= {"settings": settings, "out": str(target.absolute())}
    folders = tuple(str(run.path.absolute()) for run in runs)
    names = (member.folder.name for member in runs[0].members)
    read_with_workers(options, ReadRecipe("compare", given, folders), names, report)


def _split_settings(options: CompareOptions) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of the comparison, and those of the backend."""
    settings = dict(options.settings or {})
    prefixed = {key: value for key, value in settings.items() if key.startswith(PREFIX)}
    rest = {key: value for key, value in settings.items() if key not in prefixed}
    if options.branch == UNCOND:  # there will be no other to compare
        prefixed = {f"{PREFIX}branch": UNCOND} | prefixed
    return prefixed, rest


def _refuse_controls(options: CompareOptions) -> None:
    """Refuse controls of a LoRA where none is generated with.

    Raises:
        UsageError: names the first.
    """
    refuse_lone_options(options)
    for name in CONTROLS:
        if getattr(options, name) and options.lora is None:
            raise UsageError(
                f"{name} is a control of a LoRA that is generated with; give one with --lora FILE"
            )


def refuse_folder(out: str | Path | None, report: Report) -> None:
    """Refuse a folder whose content would be lost or mixed, before time is spent.

    Earlier versions of attn wrote a comparison into `out` itself: it stays, and a warning says so.
    """
    if out is None:
        return
    if is_file(Path(out)):
        raise AnalysisError(f"{out} is a file; choose another with --out")
    refuse_parts(Path(out))
    refuse_others(Path(out) / FOLDER, "compare", COMPARISON)
    if is_unmarked(Path(out), COMPARISON):
        report.warn(
            f"{out} holds a comparison of an earlier attn, which stays; the new one is in "
            f"{Path(out) / FOLDER}"
        )


def _required(
    options: CompareOptions,
    selection: PairOptions,
    parts: Sequence[str] | None,
    settings: Mapping[str, str],
) -> Required:
    """Return what keeps anything from being generated that could not be compared."""
    has_drawing = options.sketch is not None or SKETCH in settings
    negative = options.negative or ""

    def of_prompts(prompts: Sequence[str]) -> None:
        require_in_prompts(prompts, selection, negative)
        require_triggers(prompts, tuple(options.trigger or ()))

    return Required(
        of_prompts,
        partial(require_in_plan, options=selection, parts=parts, has_drawing=has_drawing),
    )


def _generate(
    options: CompareOptions, settings: Mapping[str, str], report: Report, require: Required
) -> Generated:
    run = generate_sketches if options.lora is None else generate
    return run(options, settings, report, require)


def planned(made: Generated, report: Report) -> Compared:
    """Describe what a comparison would compare."""
    base, *variants = made.captured
    plans = tuple(made.captured.values())
    images = next((plan.samples for plan in plans[0].plans), 0)  # a shard may have no traces
    counts = {name: images * len(made.captured[name].entries) for name in variants}
    return Compared(made.path / FOLDER, base, counts, {}, (), tuple(report.warnings), plans)


def made_in_part(made: Generated, shard: str, report: Report) -> Compared:
    """Say what is there when one part of the traces was made, of which nothing is compared yet."""
    runs = ", ".join(made.captured)
    told = (
        f"Shard {shard} of {runs} is made. When all shards are, the same command with --resume in "
        "place of --shard compares them."
    )
    return Compared(
        made.path, next(iter(made.captured)), {}, {}, (), tuple(report.warnings), (), answer=told
    )


def _refuse_generating(arguments: Mapping[str, Any], settings: Mapping[str, str]) -> None:
    """Refuse, without LoRAs or drawings to generate with, what is about generating.

    Raises:
        UsageError: names the first such argument.
    """
    for key, value in settings.items():
        raise UsageError(f"--set takes {PREFIX}KEY=VALUE, got '{key}={value}'")
    generating = {"backend", "prompt", *(field.name for field in fields(GenerationOptions))}
    generating -= {"shard", "workers", "engine"}
    requested = (key for key, value in arguments.items() if value is not None)
    for key in (key for key in requested if key in generating):
        hint = f" (--set {PREFIX}{key}=… chooses of what is there)" if key in CHOOSING else ""
        raise UsageError(f"{key} is about generating, which only --lora and --sketch do{hint}")


def parse(
    words: str | Iterable[str] | None,
    phrases: str | Iterable[str] | None,
    pooling: str | None,
    settings: Mapping[str, str],
) -> PairOptions:
    """Return the options of a comparison.

    Raises:
        UsageError: one is unknown or makes no sense.
    """
    from attn.analysis.compare.pairs import PairOptions

    values = {key.removeprefix(PREFIX): value for key, value in settings.items()}
    values |= {} if pooling is None else {"pooling": pooling}
    options = parse_options(PairOptions, values, "attn compare")
    requested = {"words": words, "phrases": phrases}
    selected: dict[str, Any] = {
        key: as_tuple(value) for key, value in requested.items() if value is not None
    }
    try:
        return replace(options, **selected)
    except ValueError as error:  # checked by the dataclass itself
        raise UsageError(str(error)) from error


def parse_parts(only: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the names of the parts that are asked for; None is all that can be made.

    Raises:
        UsageError: a name is unknown, or nothing is named.
    """
    from attn.analysis.compare.change_tables import PARTS

    if only is None:
        return None
    requested = tuple(dict.fromkeys(as_tuple(only)))
    if not requested:
        raise UsageError("only: nothing is named; leave the option out for all parts")
    for name in requested:
        if name not in PARTS:
            hint = did_you_mean(name, PARTS)
            raise UsageError(f"unknown part '{name}'.{hint} There is: {', '.join(PARTS)}.")
    return requested
