"""What `attn evaluate` leaves: tables, a figure and a page, in a folder of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.files.disk import json_text
from attn.files.results import replaced
from attn.verbs.evaluate.answer import POINTING, SCORES
from attn.verbs.report import Report
from attn.verbs.report_page import REPORT, ReportPage, Section, Sentence, plain, write_report

if TYPE_CHECKING:
    from pandas import DataFrame

    from attn.analysis.tables import Columns

FOLDER = "evaluation"
INDEX = "evaluation.json"
SCHEMA = 1


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
        path: folder of the results.
        answer: whether maps find what words name: the first paragraph of `report.html`.
        tables: data frames by name, such as `scores.csv`.
        files: relative to `path`.
        choices: how it was scored, by the name of what was chosen.
        warnings: what the reader of the results should know.
    """

    path: Path
    answer: str
    tables: Mapping[str, DataFrame]
    files: tuple[str, ...]
    choices: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationFindings:
    """What was computed.

    Attributes:
        title: what was generated.
        subtitle: of which pictures, held against what.
        tables: by name.
        paragraph: the answer.
        choices: how it was scored.
    """

    title: str
    subtitle: str
    tables: Mapping[str, Columns]
    paragraph: Sequence[Sentence]
    choices: Mapping[str, str]


def write_results(
    findings: EvaluationFindings, folder: Path, pictures: bool, report: Report
) -> Evaluated:
    """Write what was computed; earlier results of the same command are replaced.

    Raises:
        AnalysisError: the folder holds something else.
        TraceError: it cannot be written.
    """
    from attn.analysis.tables import Frames, write_table

    frames = Frames(findings.tables)
    with replaced(folder, "evaluate", INDEX, report.warn) as staging:
        for name, table in findings.tables.items():
            write_table(table, staging / name)
        figures = _draw(findings, frames, staging) if pictures and SCORES in frames else {}
        facts = {"schema": SCHEMA, "answer": plain(findings.paragraph)}
        facts |= {"choices": dict(findings.choices), "warnings": list(report.warnings)}
        files = (*findings.tables, *figures, REPORT, INDEX)
        (staging / INDEX).write_text(json_text(facts | {"files": files}), encoding="utf-8")
        write_report(_page(findings, frames, figures, report), staging)
    return Evaluated(
        folder,
        plain(findings.paragraph),
        dict(frames),
        files,
        findings.choices,
        tuple(report.warnings),
    )


def _page(
    findings: EvaluationFindings,
    frames: Mapping[str, DataFrame],
    figures: Mapping[str, str],
    report: Report,
) -> ReportPage:
    sections = [Section("How well maps point", figures, {}, is_open=True)] if figures else []
    tables = dict(frames)
    if SCORES in tables:
        table = tables[SCORES]
        tables[SCORES] = table[table["pooling"].isin(["mean", "daam", "layer"])]
    columns = {
        name: {str(title): values.to_numpy() for title, values in table.items()}
        for name, table in tables.items()
    }
    sections.append(Section("Tables", {}, columns, is_open=not figures))
    notes = [f"{name}: {choice}" for name, choice in findings.choices.items()]
    return ReportPage(
        findings.title, findings.subtitle, findings.paragraph, sections, [*notes, *report.warnings]
    )


def _draw(
    findings: EvaluationFindings, frames: Mapping[str, DataFrame], folder: Path
) -> dict[str, str]:
    """Draw how often maps point to what their words name."""
    from attn.analysis.scores.summary import CLASSES
    from attn.viz.figures import write
    from attn.viz.scores import draw

    table = frames[SCORES]
    rows: list[dict[str, Any]] = table[
        (table["measure"] == POINTING) & (table["class"] == CLASSES)
    ].to_dict("records")
    heading = "How often a word's map points to what the word names", findings.subtitle
    figure = draw(rows, heading, {"title": findings.title})
    write(figure, folder)
    return {figure.path: "The largest value of a word's map lies on what the word names"}
