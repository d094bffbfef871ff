"""`attn analyze`: tables and pictures of what was captured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli._errors import ANSWERED
from attn.cli._options import Json, Pictures, Words
from attn.cli._terminal import say
from attn.cli._text import aligned, counted, listed_files, split

if TYPE_CHECKING:
    from attn.analysis.needs import Needs
    from attn.analysis.registry import Analysis
    from attn.verbs.analyze.analyze import Analyzed


LISTED = 10
"""So many traces that failed are named; the warnings have them all."""


def analyze(
    context: typer.Context,
    trace: Annotated[
        Path | None, typer.Argument(help="Folder of a trace, or of a collection.")
    ] = None,
    *,
    words: Words = None,
    phrases: Annotated[
        str | None, typer.Option("--phrases", help="Words in a row, taken together: 'A B|C D'")
    ] = None,
    topk: Annotated[
        int | None, typer.Option("--topk", min=1, help="Draw only the words of most mass.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Only these analyses: NAME,NAME,…")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option("--pooling", help="How maps are made of many: mean, or daam.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the analyses, their needs and options.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="ANALYSIS.KEY=VALUE, or KEY=VALUE of all that have it; repeat."),
    ] = None,
    pictures: Pictures = True,
    figsize: Annotated[
        str | None,
        typer.Option("--figsize", help="WIDTHxHEIGHT in inches that pictures are scaled to."),
    ] = None,
    dpi: Annotated[
        int, typer.Option("--dpi", help="Pixels per inch of pictures, 20 to 600.")
    ] = 150,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of results. [default: TRACE/analysis]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make tables and pictures of what was captured; no model is loaded."""
    from attn.analysis.registry import ANALYSES
    from attn.cli._report import ShownReport
    from attn.errors import AnalysisError, UsageError
    from attn.options import split_pairs
    from attn.verbs.analyze.analyze import analyze as run
    from attn.verbs.inputs import parse_inches

    if list_:
        say(_list_json() if as_json else "\n\n".join(map(_list_text, ANALYSES)))
        return
    if trace is None:
        raise UsageError("name the folder of a trace or collection: attn analyze TRACE")
    done = run(
        trace,
        words=split(words),
        phrases=split(phrases, "|"),
        topk=topk,
        only=split(only),
        pooling=pooling,
        settings=split_pairs(set_ or []),
        pictures=pictures,
        figsize=parse_inches(figsize) if figsize else None,
        dpi=dpi,
        out=out,
        report=ShownReport(context),
    )
    say(_json(done) if as_json else "\n".join(_text(done)))
    if done.failures:
        context.meta[ANSWERED] = True
        raise AnalysisError(explain(done))


def explain(done: Analyzed) -> str:
    """List the traces of a collection that could not be analysed."""
    names = [failure.trace.name for failure in done.failures]
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"{len(names)} of {counted(len(done.traces), 'trace')} could not be analysed: "
        f"{', '.join(names[:LISTED])}{rest}; the others are"
    )


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
            }
            for entry in done.traces
        ],
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _text(done: Analyzed) -> Iterator[str]:
    """Yield where the results are; of a trace in a collection only how many files."""
    for entry in done.traces:
        if entry.path is None:
            yield f"{entry.trace}  failed"
        elif done.summary is not None:
            yield f"{entry.path}  {counted(len(entry.files), 'file')}"
        else:
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
