"""The analyses of one trace: which run, what they write, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from attn.analysis.needs import Lack
from attn.analysis.registry import ANALYSES, Analysis, AnalysisPlan, plan
from attn.analysis.tables import with_layer_names, write_table
from attn.errors import AnalysisError, UsageError
from attn.files.disk import write_json
from attn.files.results import replaced
from attn.schema import name_layers
from attn.verbs.analyze.absence import fit
from attn.verbs.analyze.collection_tables import Findings
from attn.verbs.analyze.earlier import keep_earlier, trace_digest
from attn.verbs.analyze.figures import draw_result, note_fonts
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.analyze.report import report_trace, small_tables
from attn.verbs.analyze.results import TraceResults
from attn.verbs.analyze.settings import Settings, read_settings, refuse_unread
from attn.verbs.capture.collection import Entry, require_listed
from attn.verbs.capture.folders import ANALYSIS as FOLDER
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX
from attn.verbs.capture.folders import refuse_outside
from attn.verbs.parsing import as_tuple
from attn.verbs.report import Report
from attn.verbs.report_page import REPORT
from attn.viz.sizes import FigureSize

if TYPE_CHECKING:
    from attn.trace.trace import Trace

SCHEMA = 1
"""Version of `analysis.json`."""


@dataclass(frozen=True)
class AnalysisJob:
    """What is asked of every trace.

    Attributes:
        only: the analyses; None is all that fit.
        options: of every analysis.
        draws: whether figures are made.
        size: of these.
        report: told what happens.
        vocabulary: the words of all traces, where known.
        whole: where results of the collection are built, if they are.
    """

    only: tuple[str, ...] | None
    options: Settings
    draws: bool
    size: FigureSize
    report: Report
    vocabulary: tuple[str, ...] = ()
    whole: Path | None = None


def read_job(options: AnalyzeOptions, report: Report) -> AnalysisJob:
    """Return what is asked of every trace.

    Raises:
        UsageError: an analysis or an option is unknown, or pictures have no possible size.
    """
    names = None if options.only is None else as_tuple(options.only)
    if names == ():
        raise UsageError("only: nothing is named; leave the option out for all analyses")
    listed = {"words": options.words, "phrases": options.phrases}
    arguments: dict[str, Any] = {
        key: as_tuple(value) for key, value in listed.items() if value is not None
    }
    arguments |= {} if options.topk is None else {"topk": options.topk}
    pooling = {} if options.pooling is None else {"words.pooling": options.pooling}
    settings = pooling | dict(options.settings or {})
    read = read_settings(arguments, settings)
    refuse_unread(names, arguments, settings)
    size = FigureSize(options.dpi, options.figsize)
    return AnalysisJob(names, read, options.pictures, size, report)


def analyze_trace(
    folder: Path, out: Path | None, job: AnalysisJob, entry: Entry | None = None
) -> tuple[TraceResults, Findings]:
    """Run the analyses of one trace and write their results.

    Args:
        folder: of the trace.
        out: folder of the results; None is `analysis` in the trace.
        job: what is asked of every trace.
        entry: what the index says of the trace, if it is one of a collection.

    Raises:
        AnalysisError: an analysis cannot run.
        TraceError: the trace cannot be read, or is another than the entry says.
    """
    from attn.trace.trace import open_trace

    trace = open_trace(folder)
    if entry is not None:
        require_listed(folder, trace.manifest, entry.prompt, entry.seed)
    planned = plan(trace, job.only)
    absent: tuple[str, ...] = ()
    if entry is not None:
        options, absent = fit(trace.manifest, job.options)
        job, planned = replace(job, options=options), _without(planned, options)
    target = out or (trace.folder or folder) / FOLDER
    if out is None:
        refuse_outside(target, folder)
    findings = Findings(trace.manifest, [], trace_digest(trace.folder or folder))
    with replaced_results(target, job) as staging:
        ran = [_run(analysis, trace, job, staging, findings) for analysis in planned.runnable]
        manifests = [findings.digest]
        kept = keep_earlier(target, staging, manifests, [facts["name"] for facts in ran])
        index = _describe(trace, planned, [*ran, *kept])
        listed = [file for facts in index["analyses"] for file in facts["files"]]
        notes = [note for facts in ran for note in facts["notes"]]
        remarks = tuple(dict.fromkeys([*_remarks(trace, planned, absent), *notes]))
        tables = small_tables(listed, findings.shown, staging)
        answer = report_trace(trace.manifest, staging, listed, tables, remarks)
        write_index(staging, index | {"manifests": manifests})
    files = [*(file for facts in ran for file in facts["files"]), REPORT]
    skipped = {name: str(lack) for name, lack in planned.skipped.items()}
    offered = tuple(name for name in planned.offered if name not in {it["name"] for it in kept})
    results = (*files, INDEX)
    done = TraceResults(folder, target, results, skipped, None, remarks, offered, answer)
    return done, findings


def replaced_results(folder: Path, job: AnalysisJob) -> AbstractContextManager[Path]:
    """Give a folder for new results, which replace the earlier ones when the context ends."""
    return replaced(folder, "analyze", INDEX, job.report.warn, job.whole)


def write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `analysis.json` into a folder of results."""
    write_json(folder / INDEX, {"schema": SCHEMA, **facts})


def _without(planned: AnalysisPlan, options: Settings) -> AnalysisPlan:
    """Skip the analyses that have no options: none of the words that they should look at."""
    lack = Lack("one of the asked words, of which the prompt has none", None)
    lacking = [analysis.name for analysis in planned.runnable if analysis.name not in options]
    runnable = tuple(analysis for analysis in planned.runnable if analysis.name in options)
    return replace(
        planned, runnable=runnable, skipped=planned.skipped | dict.fromkeys(lacking, lack)
    )


def _remarks(trace: Trace, planned: AnalysisPlan, absent: Sequence[str]) -> Iterator[str]:
    if absent:
        yield f"words and phrases that the prompt does not have are left out: {', '.join(absent)}"
    if trace.manifest.status == "partial":
        yield f"the capture was interrupted; its first {len(trace.steps)} steps are analysed"
    for name, lack in planned.skipped.items():
        yield f"'{name}' is skipped: it needs {lack}"
    for analysis in planned.runnable:
        if analysis.name in planned.reduced:
            lack = planned.reduced[analysis.name]
            yield f"'{analysis.name}' has no {analysis.lost}: they need {lack}"


def _run(
    analysis: Analysis, trace: Trace, job: AnalysisJob, folder: Path, findings: Findings
) -> dict[str, Any]:
    """Run one analysis, write its files, and return what the index says of it."""
    options = job.options[analysis.name]
    try:
        result = analysis.run(trace, options)
    except AnalysisError as error:
        raise AnalysisError(f"'{analysis.name}': {error}") from error
    names = name_layers(trace.layers)
    tables = {path: with_layer_names(table, names) for path, table in result.columns.items()}
    result = replace(result, columns=tables)
    for path, table in result.columns.items():
        write_table(table, folder / path)
    for path, file in result.files.items():
        file.write(folder / path)
    drawn: tuple[str, ...] = ()
    if job.draws and analysis.draw:
        drawn = draw_result(analysis.draw, result, trace, folder, job.size, job.vocabulary)
    notes = [*result.notes, *(note_fonts(trace.manifest) if drawn else ())]
    findings.take(analysis.joins, result)
    return {
        "name": analysis.name,
        "options": msgspec.to_builtins(options),
        "files": [*result.columns, *result.files, *drawn],
        "notes": notes,
    }


def _describe(
    trace: Trace, planned: AnalysisPlan, ran: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Build the content of `analysis.json`; the analyses are in the order of the registry."""
    from attn.versions import attn_version

    manifest = trace.manifest
    order = [analysis.name for analysis in ANALYSES]
    return {
        "attn": attn_version(),
        "trace": {
            "status": manifest.status,
            "backend": manifest.backend,
            "prompt": manifest.request.prompt,
            "seed": manifest.request.seed,
        },
        "analyses": sorted(ran, key=lambda facts: order.index(facts["name"])),
        "skipped": {name: msgspec.to_builtins(lack) for name, lack in planned.skipped.items()},
        "reduced": {name: msgspec.to_builtins(lack) for name, lack in planned.reduced.items()},
    }
