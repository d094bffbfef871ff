"""`attn analyze`: tables and pictures of what was captured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from textwrap import wrap as wrapped
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli.commands.view import look
from attn.cli.errors import ANSWERED
from attn.cli.options import Json, JsonProgress, Typed, with_options
from attn.cli.terminal import say
from attn.cli.text import aligned, listed_files
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.options import Look
from attn.wording import count_noun, list_some

if TYPE_CHECKING:
    from attn.analysis.needs import Needs
    from attn.analysis.registry import Analysis
    from attn.verbs.analyze.results import Analyzed


WIDTH = 100
"""Letters of a line of the answer."""
LISTED = 10
"""So many traces that failed are named; the warnings have them all."""


@with_options(AnalyzeOptions, optional=["path"])
def analyze(
    context: typer.Context,
    *,
    typed: Typed,
    list_: Annotated[
        bool, typer.Option("--list", help="List the analyses, their needs and options.")
    ] = False,
    view: Look = False,
    as_json: Json = False,
    json_progress: JsonProgress = False,
) -> None:
    """Make tables and pictures of what was captured; no model is loaded."""
    from attn.analysis.registry import ANALYSES
    from attn.cli.report import ShownReport
    from attn.errors import AnalysisError, UsageError
    from attn.verbs.analyze.analyze import analyze as run

    if list_:
        say(_list_json() if as_json else "\n\n".join(map(_list_text, ANALYSES)))
        return
    if "path" not in typed:
        raise UsageError("name the folder of a trace or collection: attn analyze TRACE")
    done = run(**typed, report=ShownReport(context, json_progress))
    say(_json(done) if as_json else "\n".join(_text(done)))
    if done.failures:
        context.meta[ANSWERED] = True
        raise AnalysisError(explain(done))
    if view:
        look([typed["path"]])


def explain(done: Analyzed) -> str:
    """List the traces of a collection that could not be analysed."""
    names = [failure.trace.name for failure in done.failures]
    return (
        f"{len(names)} of {count_noun(len(done.traces), 'trace')} could not be analysed: "
        f"{list_some(names, LISTED)}; the others are"
    )


def tell_answer(done: Analyzed) -> Iterator[str]:
    """Yield the first paragraph of a single trace's report, and where that is."""
    from attn.verbs.report_page import REPORT  # which brings numpy

    for entry in done.traces:
        if done.summary is None and entry.path is not None:
            yield from wrapped(entry.answer, WIDTH)
            yield f"report {entry.path / REPORT}"


def _json(done: Analyzed) -> str:
    answer = {
        "command": "analyze",
        "status": done.status,
        "path": str(done.path),
        "warnings": list(done.warnings),
        "files": [str(file) for file in done.files],
        "summary": str(done.summary.path) if done.summary else None,
        "traces": [
            {
                "trace": str(entry.trace),
                "path": str(entry.path) if entry.path else None,
                "skipped": dict(entry.skipped),
                "error": entry.error,
                "answer": entry.answer,
            }
            for entry in done.traces
        ],
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _text(done: Analyzed) -> Iterator[str]:
    """Yield where the results are; of several traces only how many files each has."""
    for entry in done.traces:
        if entry.path is None:
            yield f"{entry.trace}  failed"
        elif done.summary is not None or len(done.traces) > 1:
            yield f"{entry.path}  {count_noun(len(entry.files), 'file')}"
        else:
            yield from wrapped(entry.answer, WIDTH)
            yield str(entry.path)
            yield from (f"  {line}" for line in listed_files(entry.files))
    if done.summary is not None:
        yield str(done.summary.path)
        yield from (f"  {line}" for line in listed_files(done.summary.files))


def _list_text(analysis: Analysis) -> str:
    from attn.options import describe_options

    facts = [
        ("analysis", analysis.name),
        ("summary", analysis.summary),
        ("needs", _needs(analysis.needs)),
    ]
    if analysis.lost:
        facts.append(("wants", f"{_needs(analysis.wants)}; without: no {analysis.lost}"))
    options = describe_options(analysis.Options)
    table = aligned([("OPTION", "TYPE", "DEFAULT", "MEANING"), *options])
    last = f"Set one with --set {analysis.name}.OPTION=VALUE."
    if analysis.on_request:
        last += f" It runs only with --only {analysis.name}."
    return "\n".join([*aligned(facts), "", *table, "", last])


def _needs(needs: Needs) -> str:
    segments = [f"{segment} segments" for segment in needs.segments]
    kinds = [f"{kind} layers" for kind in needs.kinds]
    flags = {
        "words in the prompt": needs.words,
        "masses of image keys": needs.image_keys,
        "maps of every key": needs.all_keys,
        "a text that the model wrote": needs.written,
        "maps of every step": needs.stepwise,
        "gates": needs.gates,
        "frames of a video": needs.video,
        "concepts": needs.concepts,
    }
    named = [name for name, is_needed in flags.items() if is_needed]
    return ", ".join([*segments, *kinds, *needs.measures, *named])


def _list_json() -> str:
    from attn.analysis.registry import ANALYSES
    from attn.options import describe_options

    analyses = [
        {
            "name": analysis.name,
            "summary": analysis.summary,
            "needs": asdict(analysis.needs),
            "wants": asdict(analysis.wants),
            "options": [option._asdict() for option in describe_options(analysis.Options)],
        }
        for analysis in ANALYSES
    ]
    answer = {
        "command": "analyze",
        "status": "done",
        "path": None,
        "warnings": [],
        "analyses": analyses,
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)
