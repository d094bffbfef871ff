"""`attn compare`: what differs between runs, word by word, with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import AnalysisError, AttnError, UsageError, did_you_mean
from attn.files.disk import is_file
from attn.files.results import refuse_others, replaced
from attn.options import parse_options
from attn.verbs.capture import arguments as check
from attn.verbs.capture.arguments import SKETCH
from attn.verbs.capture.folders import choose_folder, refuse_parts
from attn.verbs.compare.lora_runs import generate
from attn.verbs.compare.lora_specs import Spec
from attn.verbs.compare.pairing import COMPARISON, FOLDER, ComparedRun, open_runs
from attn.verbs.compare.sketch_runs import generate_sketches
from attn.verbs.compare.variant_runs import Generated, Required
from attn.verbs.compare.variants import Variant, compare_traces, require_in_plan, require_in_prompts
from attn.verbs.inputs import as_tuple
from attn.verbs.report import Report

if TYPE_CHECKING:
    from pandas import DataFrame

    from attn.analysis.compare.pairs import CompareOptions
    from attn.analysis.compare.weights import WeightsAgainstAttention
    from attn.lora import LoraFile
    from attn.verbs.capture.capture import Captured

SCHEMA = 1
"""Version of `comparison.json`."""
TABLES = "tables"
PREFIX = "compare."
UNCOND = "uncond"
CHOOSING = ("layers", "steps", "branch")
"""What both a capture and a comparison can be limited to."""
FEWEST = 2
"""Runs that can be compared: a baseline and a variant."""


@dataclass(frozen=True)
class Compared:
    """What a comparison left.

    Attributes:
        path: folder of the results, `comparison` in the one that was asked for.
        base: what the baseline is called.
        variants: number of pairs of pictures by what a variant is called.
        tables: by name, such as `mass.csv`.
        files: relative to `path`.
        warnings: what the reader of the results should know.
        plans: of a dry run what would be generated, the baseline first; then nothing else is there.
    """

    path: Path
    base: str
    variants: Mapping[str, int]
    tables: Mapping[str, DataFrame]
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    plans: tuple[Captured, ...] = ()

    @property
    def predicted_bytes(self) -> int:
        """Bytes of all folders `attention/` that a dry run plans."""
        return sum(plan.predicted_bytes for plan in self.plans)


def compare(  # noqa: PLR0913 - one argument per option of the command
    *runs: str | Path,
    lora: Spec | Sequence[Spec] | None = None,
    sketch: str | Path | Sequence[str | Path] | None = None,
    prompt: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    words: str | Iterable[str] | None = None,
    phrases: str | Iterable[str] | None = None,
    pooling: str | None = None,
    only: str | Iterable[str] | None = None,
    settings: Mapping[str, str] | None = None,
    pictures: bool = True,
    report: Report | None = None,
    **capture: Any,
) -> Compared:
    """Compare traces or collections with a baseline, or a model with LoRAs: `attn compare`.

    Args:
        runs: folders of traces or collections, the first of which is the baseline; traces are
            paired by prompt and seed.
        lora: instead of runs, LoRAs to generate with and without: each a variant, as `FILE`,
            `FILE:SCALE`, a stack `A+B`, or a sweep over scales `FILE:0,0.5,1`.
        sketch: instead of runs, drawings to generate with, the first of which is the baseline:
            `FILE`, `none`, or a sweep over conditioning scales `FILE:0,0.5,1`.
        prompt: with `lora` or `sketch`: one or several; None takes the example of the demo model.
        out: folder; None is a new one below `attn-runs`. The results go to `comparison` in it,
            where those of an earlier comparison are replaced. With `lora` it must be empty or
            missing, and the traces go to `base` and one folder per variant in it.
        words: one word or several to compare; None is all that the prompts share.
        phrases: words in a row to compare as one, such as `red cat`.
        pooling: how one map is made of many: `mean` (None) or `daam`.
        only: names in `attn.analysis.compare.change_tables.PARTS`; None is all that can be made.
        settings: further options as `compare.KEY: VALUE`; with `lora` also those of the backend
            as `KEY: VALUE`.
        pictures: also draw.
        report: told warnings.
        capture: with `lora`: further arguments of `attn.capture`. `backend` is that of the LoRAs
            if it is missing, `seed` 0 to 15, `keep` `means`; with `dry_run` nothing is compared.

    Raises:
        UsageError: an argument is wrong in itself.
        AnalysisError: nothing can be compared: no common prompt, word or step.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    report = report or Report()
    prefixed = {key: value for key, value in (settings or {}).items() if key.startswith(PREFIX)}
    rest = {key: value for key, value in (settings or {}).items() if key not in prefixed}
    if capture.get("branch") == UNCOND:  # there will be no other to compare
        prefixed = {f"{PREFIX}branch": UNCOND} | prefixed
    options = parse(words, phrases, pooling, prefixed)
    parts = parse_parts(only)
    if [bool(runs), lora is not None, sketch is not None].count(True) > 1:
        raise UsageError("give runs, --lora or --sketch, not several of them")
    has_drawing = sketch is not None or SKETCH in rest
    negative = check.negative("negative", capture.get("negative") or "")
    if out is not None:
        if is_file(Path(out)):
            raise AnalysisError(f"{out} is a file; choose another with --out")
        refuse_parts(Path(out))
        refuse_others(Path(out) / FOLDER, "compare", COMPARISON)
    require = Required(
        partial(require_in_prompts, options=options, negative=negative),
        partial(require_in_plan, options=options, parts=parts, has_drawing=has_drawing),
    )
    generating = (prompt, out, {**capture, "settings": rest}, report, require)
    made: Generated | None = None
    if lora is not None:
        made = generate(lora, *generating)
    elif sketch is not None:
        made = generate_sketches(sketch, *generating)
    files: Mapping[str, LoraFile] = {}
    if made is not None:
        if capture.get("dry_run"):
            return _planned(made, report)
        target, opened, files = made.path, made.runs(), made.files
    else:
        _refuse_capture({"prompt": prompt, **capture}, rest)
        if len(runs) < FEWEST:
            raise UsageError("name what is compared with the baseline: attn compare BASE VARIANT")
        opened = open_runs([Path(path) for path in runs])
        folder = None if out is None else Path(out)
        target = choose_folder(folder, "compare", opened[0].members[0].prompt)
    try:
        return compare_runs(
            opened, options, parts, target / FOLDER, pictures=pictures, report=report, files=files
        )
    except AttnError as error:
        if made is None:
            raise
        runs_of = " ".join(str(run.path) for run in opened)
        raise type(error)(f"{error} (the traces can be used: attn compare {runs_of})") from error


def _planned(made: Generated, report: Report) -> Compared:
    """Describe what a comparison would compare."""
    base, *variants = made.captured
    plans = tuple(made.captured.values())
    images = plans[0].plans[0].samples
    counts = {name: images * len(made.captured[name].entries) for name in variants}
    return Compared(made.path / FOLDER, base, counts, {}, (), tuple(report.warnings), plans)


def _refuse_capture(requested: Mapping[str, Any], settings: Mapping[str, str]) -> None:
    """Refuse, without LoRAs to generate with, what is about generating.

    Raises:
        UsageError: names the first such argument.
    """
    for key, value in settings.items():
        raise UsageError(f"--set takes {PREFIX}KEY=VALUE, got '{key}={value}'")
    for key in (key for key, value in requested.items() if value is not None):
        hint = f" (--set {PREFIX}{key}=… chooses of what is there)" if key in CHOOSING else ""
        raise UsageError(f"{key} is about generating, which only --lora and --sketch do{hint}")


def parse(
    words: str | Iterable[str] | None,
    phrases: str | Iterable[str] | None,
    pooling: str | None,
    settings: Mapping[str, str],
) -> CompareOptions:
    """Return the options of a comparison.

    Raises:
        UsageError: one is unknown or makes no sense.
    """
    from attn.analysis.compare.pairs import CompareOptions

    values = {key.removeprefix(PREFIX): value for key, value in settings.items()}
    values |= {} if pooling is None else {"pooling": pooling}
    options = parse_options(CompareOptions, values, "attn compare")
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


def compare_runs(
    runs: Sequence[ComparedRun],
    options: CompareOptions,
    parts: Sequence[str] | None,
    out: Path,
    *,
    pictures: bool,
    report: Report,
    files: Mapping[str, LoraFile],
) -> Compared:
    """Compare runs with the first of them and write the results.

    Args:
        runs: the baseline, then the variants.
        options: what to compare.
        parts: what was asked for; None is all that can be made.
        out: folder of the results.
        pictures: also draw.
        report: told warnings.
        files: the LoRAs of variants that have a single one, by what these are called.

    Raises:
        AnalysisError: nothing can be compared.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    variants = compare_traces(runs, options)
    for note in (
        *runs[0].notes,
        *(_say(variant, note) for variant in variants for note in variant.notes),
    ):
        report.warn(note)
    if parts is None or "maps" in parts:
        for note in (_say(variant, lack) for variant in variants for lack in variant.lacks):
            report.warn(note)
    from attn.analysis.tables import write_table

    tables = _make_tables(variants, parts, options)
    weights = {} if parts else _weigh(variants, files, options, report)
    tables |= _weight_tables(weights)
    with replaced(out, "compare", COMPARISON, report.warn) as folder:
        for name, table in tables.items():
            write_table(table, folder / TABLES / name)
        written = [f"{TABLES}/{name}" for name in tables]
        if pictures:
            from attn.verbs.compare.figures import draw_comparison, draw_weights
            from attn.viz.fonts import note_missing

            written += draw_comparison(runs[0], variants, folder, parts, options.words)
            written += draw_weights(variants, weights, folder)
            for note in note_missing(sorted({*variants[0].prompts, *options.phrases})):
                report.warn(note)
        facts = _describe(runs[0], variants, options) | {"files": written}
        _write_index(folder, facts | {"warnings": report.warnings})
    counts = {variant.label: variant.count for variant in variants}
    return Compared(
        out, runs[0].label, counts, tables, (*written, COMPARISON), tuple(report.warnings)
    )


def _say(variant: Variant, note: str) -> str:
    return f"{variant.label}: {note}"


def _make_tables(
    variants: Sequence[Variant], parts: Sequence[str] | None, options: CompareOptions
) -> dict[str, DataFrame]:
    """Make every table of all variants; with several variants it has their names."""
    from attn.analysis.compare.change_tables import PARTS, with_name
    from attn.analysis.tables import stack_tables

    by_name: dict[str, list[Any]] = {}
    for part in parts or PARTS:
        made = {variant.label: PARTS[part](variant.pairs, options.words) for variant in variants}
        if parts and not any(made.values()):
            raise AnalysisError(f"there is no part '{part}' of this comparison: {_why(variants)}")
        for label, tables in made.items():
            for name, columns in tables.items():
                shown = with_name(columns, label) if len(variants) > 1 else columns
                by_name.setdefault(name, []).append(shown)
    return {name: stack_tables(stacked) for name, stacked in by_name.items()}


def _weigh(
    variants: Sequence[Variant],
    files: Mapping[str, LoraFile],
    options: CompareOptions,
    report: Report,
) -> dict[str, WeightsAgainstAttention]:
    """Hold the weights of single LoRAs against attention, where layers agree."""
    from attn.analysis.compare.weights import against_weights

    weights = {}
    for variant in variants:
        if variant.label in files:
            try:
                file = files[variant.label]
                weights[variant.label] = against_weights(file, variant.pairs, options.words)
            except AnalysisError as error:
                report.warn(f"{variant.label}: no table of weights: {error}")
    return weights


def _weight_tables(weights: Mapping[str, WeightsAgainstAttention]) -> dict[str, DataFrame]:
    """Return `lora_weights.csv`, always with the names of the variants."""
    from attn.analysis.compare.change_tables import with_name
    from attn.analysis.tables import stack_tables

    parts = [with_name(weight.table, label) for label, weight in weights.items()]
    return {"lora_weights.csv": stack_tables(parts)} if parts else {}


def _why(variants: Sequence[Variant]) -> str:
    notes = (note for variant in variants for note in (*variant.lacks, *variant.notes))
    return "; ".join(dict.fromkeys(notes)) or "the traces have no drawing"


def _describe(
    base: ComparedRun, variants: Sequence[Variant], options: CompareOptions
) -> dict[str, Any]:
    """Build the content of `comparison.json`, without files and warnings."""
    from attn import __version__

    return {
        "schema": SCHEMA,
        "attn": __version__,
        "base": {"name": base.label, "path": str(base.path)},
        "variants": [
            {
                "name": variant.label,
                "path": str(variant.run.path),
                "pairs": variant.count,
                "pairs_of_traces": len(variant.pairs),
                "same_noise": variant.same_noise,
                "notes": list(variant.notes),
            }
            for variant in variants
        ],
        "options": asdict(options),
    }


def _write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    from attn.files.disk import as_utf8

    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (folder / COMPARISON).write_text(as_utf8(text) + "\n", encoding="utf-8")
