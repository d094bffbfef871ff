"""Compare runs that are there, and write tables, figures and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.analysis.result import Deferred
from attn.errors import AnalysisError
from attn.files.results import replaced
from attn.schema import name_layers
from attn.verbs.compare.answer import VariantTables, tell
from attn.verbs.compare.answer_controls import tell_controls
from attn.verbs.compare.block_lists import write_block_lists
from attn.verbs.compare.controls import find_controls
from attn.verbs.compare.pairing import COMPARISON, ComparedRun
from attn.verbs.compare.report import lay_out_report
from attn.verbs.compare.variants import Variant, compare_traces
from attn.verbs.report import Report
from attn.verbs.report_page import REPORT, plain, write_report

if TYPE_CHECKING:
    import xarray as xr
    from pandas import DataFrame

    from attn.analysis.compare.differences import Difference
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.sweep import Sweep
    from attn.analysis.compare.weights import WeightsAgainstAttention
    from attn.analysis.tables import Table
    from attn.lora import LoraFile
    from attn.verbs.capture.capture import Captured

SCHEMA = 1
"""Version of `comparison.json`."""
TABLES = "tables"


@dataclass(frozen=True)
class Compared:
    """What a comparison left.

    Attributes:
        path: folder of the results, `comparison` in the one that was asked for.
        base: what the baseline is called.
        variants: number of pairs of pictures by what a variant is called.
        tables: data frames by name, such as `mass.csv`, each made when it is looked at.
        files: relative to `path`.
        warnings: what the reader of the results should know.
        plans: of a dry run what would be generated, the baseline first; then nothing else is there.
        answer: what changed, in sentences: the first paragraph of `report.html`.
        differences: settings in which a variant differs from the baseline, by what it is called.
        controls: what each variant that is a control is of another, such as `null of style`, by
            what it is called.
        maps: where each word is read, (value, word, row, column), by what a variant is called; made
            when it is looked at. See `attn.analysis.compare.mean_maps:mean_maps`.
    """

    path: Path
    base: str
    variants: Mapping[str, int]
    tables: Mapping[str, DataFrame]
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    plans: tuple[Captured, ...] = ()
    answer: str = ""
    differences: Mapping[str, tuple[Difference, ...]] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, xr.DataArray] = field(default_factory=dict)

    @property
    def pictures(self) -> dict[str, Path]:
        """The figures and images that were written, by their names in `files`."""
        return {name: self.path / name for name in self.files if name.endswith(".png")}

    @property
    def report(self) -> Path:
        """The page that tells all of it."""
        return self.path / REPORT

    @property
    def predicted_bytes(self) -> int:
        """Bytes of all folders `attention/` that a dry run plans."""
        return sum(plan.predicted_bytes for plan in self.plans)


def compare_runs(
    runs: Sequence[ComparedRun],
    options: PairOptions,
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
    from attn.analysis.compare.mean_maps import mean_maps
    from attn.analysis.tables import Frames, write_table

    controls = find_controls(runs[0], variants, options, parts)
    sweep = find_sweep(controls.plain, options)
    by_variant = _variant_tables(variants, parts, options)
    weights = {} if parts else _weigh(variants, files, options, report)
    tables = _stack(by_variant, variants, sweep) | _weight_tables(weights, sweep)
    tables |= controls.tables
    if sweep is not None and parts is None:
        tables["sweep.csv"] = sweep.table
    labels = {variant.label for variant in controls.plain}
    told = [of for of in _told(variants, by_variant) if of.label in labels]
    answer = tell(told, sweep if "sweep.csv" in tables else None, tell_controls(Frames(tables)))
    with replaced(out, "compare", COMPARISON, report.warn) as folder:
        for name, table in tables.items():
            write_table(table, folder / TABLES / name)
        written = [f"{TABLES}/{name}" for name in tables]
        written += write_block_lists(controls.part_rows, controls.backend, folder)
        if pictures:
            from attn.verbs.compare.control_figures import draw_controls
            from attn.verbs.compare.figures import draw_comparison, draw_weights
            from attn.viz.fonts import note_missing

            written += draw_comparison(runs[0], controls.drawn, folder, parts, options, sweep)
            written += draw_controls(runs[0], controls, folder, options)
            written += draw_weights(controls.drawn, weights, folder)
            for note in note_missing(sorted({*variants[0].prompts, *options.phrases})):
                report.warn(note)
        page = lay_out_report(runs[0], controls.plain, answer, Frames(tables), written)
        written.append(write_report(page, folder))
        facts = _describe(runs[0], variants, options, sweep) | {
            "answer": plain(answer),
            "controls": controls.named,
        }
        _write_index(folder, facts | {"files": written, "warnings": report.warnings})
    return Compared(
        out,
        runs[0].label,
        {variant.label: variant.count for variant in variants},
        Frames(tables),
        (*written, COMPARISON),
        tuple(report.warnings),
        answer=plain(answer),
        differences={variant.label: variant.differences for variant in variants},
        controls=controls.named,
        maps=Deferred(
            {
                variant.label: partial(mean_maps, variant.pairs, options.words)
                for variant in variants
            }
        ),
    )


def find_sweep(variants: Sequence[Variant], options: PairOptions) -> Sweep | None:
    """Return the sweep that variants are: they differ in one number alone; else None."""
    from attn.analysis.compare.sweep import find_scales, make_sweep

    varying = find_scales([variant.differences for variant in variants])
    if varying is None:
        return None
    name, base, scales = varying
    runs = [
        (variant.label, scale, variant.pairs)
        for variant, scale in zip(variants, scales, strict=True)
    ]
    return make_sweep(name, base, runs, options.words)


def _say(variant: Variant, note: str) -> str:
    return f"{variant.label}: {note}"


def _variant_tables(
    variants: Sequence[Variant], parts: Sequence[str] | None, options: PairOptions
) -> list[dict[str, Table]]:
    """Make every table of each variant."""
    from attn.analysis.compare.change_tables import PARTS

    by_variant: list[dict[str, Table]] = [{} for _ in variants]
    for part in parts or PARTS:
        made = [PARTS[part](variant.pairs, options.words) for variant in variants]
        if parts and not any(made):
            raise AnalysisError(f"there is no part '{part}' of this comparison: {_why(variants)}")
        for tables, more in zip(by_variant, made, strict=True):
            tables.update(more)
    return by_variant


def _stack(
    by_variant: Sequence[Mapping[str, Table]],
    variants: Sequence[Variant],
    sweep: Sweep | None,
) -> dict[str, Table]:
    """Put the tables of all variants together; with several they have the variants' names."""
    from attn.analysis.compare.change_tables import with_name
    from attn.analysis.tables import stack_tables, with_layer_names

    by_name: dict[str, list[Table]] = {}
    for variant, tables in zip(variants, by_variant, strict=True):
        for name, table in tables.items():
            layered = with_layer_names(table, name_layers(variant.pairs[0].layers))
            named = with_name(layered, variant.label, _scale(sweep, variant.label))
            by_name.setdefault(name, []).append(named if len(variants) > 1 else layered)
    return {name: stack_tables(stacked) for name, stacked in by_name.items()}


def _scale(sweep: Sweep | None, label: str) -> float | None:
    """Return the scale of a variant in a sweep; that of the baseline if it is no point of it."""
    if sweep is None:
        return None
    scales = (point.scale for point in sweep.points if point.label == label)
    return next(scales, sweep.base)


def _told(
    variants: Sequence[Variant], by_variant: Sequence[Mapping[str, Table]]
) -> list[VariantTables]:
    """Return what the paragraph is made from."""
    from attn.analysis.tables import Frames

    return [
        VariantTables(
            variant.label,
            Frames(tables),
            name_layers(variant.pairs[0].layers),
        )
        for variant, tables in zip(variants, by_variant, strict=True)
    ]


def _weigh(
    variants: Sequence[Variant],
    files: Mapping[str, LoraFile],
    options: PairOptions,
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


def _weight_tables(
    weights: Mapping[str, WeightsAgainstAttention], sweep: Sweep | None
) -> dict[str, Table]:
    """Return `lora_weights.csv`, always with the names of the variants."""
    from attn.analysis.compare.change_tables import with_name
    from attn.analysis.tables import stack_tables

    parts = [
        with_name(weight.table, label, _scale(sweep, label)) for label, weight in weights.items()
    ]
    return {"lora_weights.csv": stack_tables(parts)} if parts else {}


def _why(variants: Sequence[Variant]) -> str:
    notes = (note for variant in variants for note in (*variant.lacks, *variant.notes))
    return "; ".join(dict.fromkeys(notes)) or "the traces have no drawing"


def _describe(
    base: ComparedRun, variants: Sequence[Variant], options: PairOptions, sweep: Sweep | None
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
                "differences": [asdict(entry) for entry in variant.differences],
                "seed_shown": variant.members[0].seed,
            }
            for variant in variants
        ],
        "options": asdict(options),
        "sweep": None if sweep is None else _describe_sweep(sweep),
    }


def _describe_sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "base": sweep.base,
        "scales": [point.scale for point in sweep.points],
        "word": None if sweep.word is None else sweep.word.term.label,
        "works_from": sweep.works,
        "breaks_from": sweep.breaks,
    }


def _write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    from attn.files.disk import as_utf8

    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (folder / COMPARISON).write_text(as_utf8(text) + "\n", encoding="utf-8")
