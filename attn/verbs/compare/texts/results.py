"""Compare texts that were written with cuts, and write tables, figure and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.files.disk import json_text
from attn.files.results import COMPARISON, replaced
from attn.verbs.compare.compared import SCHEMA, Compared
from attn.verbs.compare.controls.cut_effects import (
    CUTS,
    added_cuts,
    controls_of,
    cut_words,
    effect_rows,
    rank_rows,
)
from attn.verbs.compare.controls.weakening import WEAKENING, tell_weakening, weakening_rows
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.run_figures import write_figures
from attn.verbs.compare.texts.answer import tell_texts
from attn.verbs.compare.texts.runs import TextVariant, compare_texts
from attn.verbs.report import Report
from attn.verbs.report_page import ReportPage, Section, plain, write_report
from attn.wording import count_noun

if TYPE_CHECKING:
    from attn.analysis.compare.controls.roles import Role
    from attn.analysis.tables import Table
    from attn.viz.figures import FigureFile

DECISIONS = "decisions.csv"
TABLES = "tables"


def compare_cut_texts(
    runs: Sequence[ComparedRun], out: Path, *, pictures: bool, report: Report
) -> Compared:
    """Compare texts with those of the first run and write the results; see `compare_runs`.

    Raises:
        AnalysisError: nothing can be compared.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    from attn.analysis.compare.controls.roles import find_cut_roles
    from attn.analysis.tables import Frames, write_table

    variants, different = compare_texts(runs)
    for variant in variants:
        for note in variant.notes:
            report.warn(f"{variant.run.label}: {note}")
    if variants[0].count > different:
        report.warn(
            f"the seed changes little: of {count_noun(variants[0].count, 'text')} only {different} "
            "differ, and those that do not count once; give more prompts"
        )
    roles = find_cut_roles([added_cuts(variant.members) for variant in variants])
    rows = _cut_rows(variants, roles)
    weakened = weakening_rows({of.run.label: of.effects for of in variants})
    tables = _tables(rows, weakened, variants)
    answer = [*tell_weakening(weakened), *tell_texts(rows)]
    controls = {
        variant.run.label: f"{role.kind} of {variants[role.whole].run.label}"
        for variant, role in zip(variants, roles, strict=True)
        if role is not None
    }
    with replaced(out, "compare", COMPARISON, report.warn) as folder:
        for name, table in tables.items():
            write_table(table, folder / TABLES / name)
        written = [f"{TABLES}/{name}" for name in tables]
        if pictures:
            written += write_figures(_draw(runs[0], rows, weakened), folder)
        page = _lay_out(runs[0], variants, tables, written)
        written.append(
            write_report(ReportPage(*page[:2], answer, page[2], _notes(variants)), folder)
        )
        facts = _describe(runs[0], variants, controls) | {"answer": plain(answer)}
        facts |= {"files": written, "warnings": list(report.warnings)}
        (folder / COMPARISON).write_text(json_text(facts), encoding="utf-8")
    return Compared(
        out,
        runs[0].label,
        {variant.run.label: variant.count for variant in variants},
        Frames(tables),
        (*written, COMPARISON),
        tuple(report.warnings),
        answer=plain(answer),
        controls=controls,
        noun="text",
    )


def _cut_rows(
    variants: Sequence[TextVariant], roles: Sequence[Role | None]
) -> list[dict[str, Any]]:
    """Return the rows of `cuts.csv`, as those of pictures."""
    from attn.analysis.compare.written import TOKEN

    rows: list[dict[str, Any]] = []
    for index, (variant, role) in enumerate(zip(variants, roles, strict=True)):
        if role is None:
            compared = [variant, *(variants[at] for at in controls_of(index, roles))]
            words = cut_words(added_cuts(variant.members))
            rows += effect_rows(variant.run.label, words, [of.effects for of in compared])
    return rank_rows(rows, TOKEN)


def _tables(
    rows: Sequence[dict[str, Any]],
    weakened: Sequence[dict[str, Any]],
    variants: Sequence[TextVariant],
) -> dict[str, Table]:
    from attn.analysis.compare.controls.controls import as_table

    decisions = [
        {"variant_name": variant.run.label, **row}
        for variant in variants
        for row in variant.decisions
    ]
    made = {CUTS: as_table(rows), WEAKENING: as_table(weakened), DECISIONS: as_table(decisions)}
    return {name: table for name, table in made.items() if table is not None}


def _draw(
    base: ComparedRun, rows: Sequence[Mapping[str, Any]], weakened: Sequence[Mapping[str, Any]]
) -> Iterator[FigureFile]:
    from attn.trace.store import read_manifest
    from attn.viz.cuts import draw_cuts, draw_weakening

    prompts = list(dict.fromkeys(member.prompt for member in base.members))
    more = f" and {count_noun(len(prompts) - 1, 'more prompt')}" if len(prompts) > 1 else ""
    texts = count_noun(max(row["n"] for row in rows), "different text")
    subtitle = f"{prompts[0]}{more} · {texts}, mean"
    backend = read_manifest(base.members[0].folder).backend
    about = {"prompt": prompts[0], "backend": backend}
    yield draw_cuts(rows, ("How much each cut changes the text", subtitle), about)
    if weakened:
        yield draw_weakening(weakened, ("How much weakened heads change", subtitle), about)


def _lay_out(
    base: ComparedRun,
    variants: Sequence[TextVariant],
    tables: Mapping[str, Table],
    files: Sequence[str],
) -> tuple[str, str, list[Section]]:
    """Return title, subtitle and sections of the page."""
    prompts = list(dict.fromkeys(member.prompt for member in base.members))
    more = f" and {count_noun(len(prompts) - 1, 'more prompt')}" if len(prompts) > 1 else ""
    labels = ", ".join(variant.run.label for variant in variants)
    pairs = count_noun(variants[0].count, "pair")
    caption = "What each cut changes, and as much cut at random; lines are 95 % intervals."
    figures = {name: caption for name in files if name.endswith(".png")}
    sections = [
        Section("What changed", figures, {}, is_open=True),
        Section(
            f"Tables ({len(tables)})", {}, {f"{TABLES}/{name}": of for name, of in tables.items()}
        ),
    ]
    shown = [section for section in sections if section.figures or section.tables]
    return f"{prompts[0]}{more}", f"{labels} against {base.label}, {pairs} of texts", shown


def _notes(variants: Sequence[TextVariant]) -> list[str]:
    return [f"{variant.run.label}: {note}" for variant in variants for note in variant.notes]


def _describe(
    base: ComparedRun, variants: Sequence[TextVariant], controls: Mapping[str, str]
) -> dict[str, Any]:
    """Build the content of `comparison.json`, without answer, files and warnings."""
    from attn.versions import attn_version

    return {
        "schema": SCHEMA,
        "attn": attn_version(),
        "base": {"name": base.label, "path": str(base.path)},
        "variants": list(_described(variants)),
        "sweep": None,
        "controls": dict(controls),
    }


def _described(variants: Sequence[TextVariant]) -> Iterator[dict[str, Any]]:
    for variant in variants:
        yield {
            "name": variant.run.label,
            "path": str(variant.run.path),
            "pairs": variant.count,
            "notes": list(variant.notes),
        }
