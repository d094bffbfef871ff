"""Compare runs that are there, and write tables, figures and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import AnalysisError
from attn.files.disk import json_text
from attn.files.results import COMPARISON, replaced
from attn.verbs.compare.compared import SCHEMA, Compared
from attn.verbs.compare.controls.block_lists import write_block_lists
from attn.verbs.compare.controls.controls import MOST_DRAWN, find_controls
from attn.verbs.compare.findings import ComparisonFindings, compute
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.report import VariantFigures, lay_out_report
from attn.verbs.compare.texts.results import compare_cut_texts
from attn.verbs.compare.texts.runs import are_cut_texts
from attn.verbs.compare.variants import Variant, compare_traces
from attn.verbs.report import Report
from attn.verbs.report_page import plain, write_report
from attn.wording import count_noun
from attn.words import NAMING, find_words, is_content

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions, ReadSide
    from attn.analysis.compare.sweep import Sweep
    from attn.lora import LoraFile

TABLES = "tables"
NO_CONTENT = (
    f"the prompts have no content word ({NAMING}), so what is told is of articles, prepositions "
    "and the like; give a prompt with a noun, a colour, …"
)


@dataclass(frozen=True)
class ComparedSources:
    """What a comparison has beside traces.

    Attributes:
        files: the LoRAs of variants that have a single one, by what these are called.
        read_side: gives what was read of a trace; None reads it.
    """

    files: Mapping[str, LoraFile] = field(default_factory=dict)
    read_side: ReadSide | None = None


def compare_runs(
    runs: Sequence[ComparedRun],
    options: PairOptions,
    parts: Sequence[str] | None,
    out: Path,
    *,
    pictures: bool,
    report: Report,
    sources: ComparedSources,
) -> Compared:
    """Compare runs with the first of them and write the results.

    Args:
        runs: the baseline, then the variants.
        options: what to compare.
        parts: what was asked for; None is all that can be made.
        out: folder of the results.
        pictures: also draw.
        report: told warnings.
        sources: what there is beside traces.

    Raises:
        AnalysisError: nothing can be compared.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    if are_cut_texts(runs):
        _refuse_words(options, parts)
        return compare_cut_texts(runs, out, pictures=pictures, report=report)
    variants = compare_traces(runs, options, sources.read_side)
    _warn(runs[0], variants, parts, report)
    controls = find_controls(runs[0], variants, options, parts)
    findings = compute(controls, parts, options, sources.files, report)
    with replaced(out, "compare", COMPARISON, report.warn) as folder:
        written = _write_tables(findings, folder)
        written += write_block_lists(controls.part_rows, controls.backend, folder)
        if pictures:
            written += _draw(runs[0], findings, folder, parts, options, report)
        written.append(_write_page(runs[0], findings, folder, written))
        facts = _describe(runs[0], findings, options)
        _write_index(folder, facts | {"files": written, "warnings": report.warnings})
    return Compared(
        out,
        runs[0].label,
        {variant.label: variant.count for variant in variants},
        findings.frames,
        (*written, COMPARISON),
        tuple(report.warnings),
        answer=plain(findings.answer),
        differences={variant.label: variant.differences for variant in variants},
        controls=findings.controls.named,
        maps=findings.maps(options.words),
    )


def _refuse_words(options: PairOptions, parts: Sequence[str] | None) -> None:
    """Refuse to choose of what there is not where texts are compared.

    Raises:
        AnalysisError: names the first such option.
    """
    for name, value in (("words", options.words), ("phrases", options.phrases), ("only", parts)):
        if value:
            raise AnalysisError(
                f"{name} chooses among maps of words, but these runs write texts, of which all "
                "positions are compared; leave it out"
            )


def _warn(
    base: ComparedRun, variants: Sequence[Variant], parts: Sequence[str] | None, report: Report
) -> None:
    """Say what the comparison leaves out."""
    for note in base.notes:
        report.warn(note)
    words = (word.text for member in base.members for word in find_words(member.prompt))
    if not any(map(is_content, words)):
        report.warn(NO_CONTENT)
    for variant in variants:
        for note in variant.notes:
            report.warn(f"{variant.label}: {note}")
    for variant in variants if parts is None or "maps" in parts else ():
        for note in variant.lacks:
            report.warn(f"{variant.label}: {note}")


def _write_tables(findings: ComparisonFindings, folder: Path) -> list[str]:
    from attn.analysis.tables import write_table

    for name, table in findings.tables.items():
        write_table(table, folder / TABLES / name)
    return [f"{TABLES}/{name}" for name in findings.tables]


def _draw(
    base: ComparedRun,
    findings: ComparisonFindings,
    folder: Path,
    parts: Sequence[str] | None,
    options: PairOptions,
    report: Report,
) -> list[str]:
    """Write the figures, and say which letters no font has."""
    from attn.verbs.compare.controls.control_figures import draw_controls
    from attn.verbs.compare.figures import draw_comparison, draw_weights
    from attn.viz.fonts import note_missing

    variants = findings.controls.drawn
    written = draw_comparison(base, variants, folder, parts, options, findings.sweep)
    written += draw_controls(base, findings.controls, folder, options)
    written += draw_weights(base, variants, findings.weights, folder)
    hidden = len(findings.variants) - len(variants)
    if hidden:
        what = "control" if hidden <= len(findings.controls.named) else "variant"
        report.warn(
            f"{count_noun(hidden, what)} of {len(findings.variants)} variants have no figures "
            f"of their own, which up to {MOST_DRAWN} variants have; tables have all"
        )
    for note in note_missing(sorted({*variants[0].prompts, *options.phrases})):
        report.warn(note)
    return written


def _write_page(
    base: ComparedRun, findings: ComparisonFindings, folder: Path, written: Sequence[str]
) -> str:
    from attn.verbs.compare.figures import folder_prefixes

    drawn = findings.controls.drawn
    labels = [variant.label for variant in drawn]
    folders = dict(zip(folder_prefixes(drawn), labels, strict=True))
    by_variant = VariantFigures(folders | findings.controls.figures, findings.told)
    page = lay_out_report(
        base, findings.controls.plain, findings.answer, findings.tables, written, by_variant
    )
    return write_report(page, folder)


def _describe(
    base: ComparedRun, findings: ComparisonFindings, options: PairOptions
) -> dict[str, Any]:
    """Build the content of `comparison.json`, without files and warnings."""
    from attn.versions import attn_version

    return {
        "schema": SCHEMA,
        "attn": attn_version(),
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
            for variant in findings.variants
        ],
        "options": asdict(options),
        "sweep": None if findings.sweep is None else _describe_sweep(findings.sweep),
        "controls": findings.controls.named,
        "answer": plain(findings.answer),
    }


def _describe_sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "base": sweep.base,
        "scales": [point.scale for point in sweep.points],
        "files": list(sweep.files),
        "unit": sweep.unit,
        "word": None if sweep.word is None else sweep.word.term.label,
        "works_from": sweep.works,
        "visible_from": sweep.visible,
        "breaks_from": sweep.breaks,
        "told": sweep.told.scale,
    }


def _write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    (folder / COMPARISON).write_text(json_text(facts), encoding="utf-8")
