"""`attn analyze`: tables and pictures of what was captured, without the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attn.analysis.registry import ANALYSES
from attn.errors import AnalysisError, AttnError, UsageError
from attn.files.disk import is_there
from attn.files.spool import SpooledList
from attn.trace.store import MANIFEST
from attn.verbs.analyze.absence import refuse_absent
from attn.verbs.analyze.collection_tables import SUMMARY, Joined
from attn.verbs.analyze.earlier import PAGE, keep_earlier
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.analyze.results import Analyzed, Summary, TraceResults
from attn.verbs.analyze.settings import read_settings, refuse_unread
from attn.verbs.analyze.traces import AnalysisJob, analyze_trace, replaced_results, write_index
from attn.verbs.capture.collection import Entry, is_collection, read_index
from attn.verbs.capture.folders import ANALYSIS as FOLDER
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX
from attn.verbs.capture.folders import refuse_outside, refuse_parts
from attn.verbs.options import takes
from attn.verbs.parsing import as_tuple
from attn.verbs.report import Report, warn_of_failures
from attn.viz.sizes import FigureSize
from attn.wording import count_noun

REASONS = 3
"""So many reasons why traces failed are in the error of a collection, more are counted."""


@takes(AnalyzeOptions)
def analyze(options: AnalyzeOptions) -> Analyzed:
    """Analyse a trace, or every trace of a collection: `attn analyze`.

    Results replace those of an earlier run of the same analyses; those of others stay, and all of
    them if it fails.
    What others put into their folder stays in any case.

    Args:
        options: see `AnalyzeOptions`.

    Raises:
        UsageError: an analysis or an option is unknown, or pictures have no possible size.
        AnalysisError: nothing can run, or a word, phrase, layer or step is not there. In a
            collection a word or phrase is an error only if no prompt has it, and left out where
            one does not; other traces that cannot be analysed are `failures`, and an error only
            if no trace is left.
        TraceError: there is no trace, or the results cannot be written.
    """
    folder, told = Path(options.path), options.report or Report()
    job = _job(options, told)
    target = Path(options.out) if options.out else None
    if target is not None:
        refuse_parts(target.parent)
    if is_collection(folder):
        analyzed = _analyze_collection(folder, target, job)
    else:
        done, _ = analyze_trace(folder, target, job)
        for remark in done.remarks:
            told.warn(f"{folder}: {remark}")
        analyzed = Analyzed(folder, (done,), tuple(told.warnings))
    for name in dict.fromkeys(name for entry in analyzed.traces for name in entry.offered):
        told.note(f"'{name}' is skipped unless asked for: attn analyze {folder} --only {name}")
    if options.report is None:
        failed = {failure.trace.name: str(failure.error) for failure in analyzed.failures}
        warn_of_failures(failed, len(analyzed.traces))
    return analyzed


def _job(options: AnalyzeOptions, report: Report) -> AnalysisJob:
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


def _analyze_collection(folder: Path, out: Path | None, job: AnalysisJob) -> Analyzed:
    """Analyse a collection; what cannot be analysed is reported and left out."""
    entries = SpooledList(Entry, read_index(folder))
    refuse_absent(folder, entries, job.options)
    target = (out or folder) / FOLDER
    if out is None:
        refuse_outside(target, folder)
    with replaced_results(target, job) as staging:
        joined = Joined(staging)
        done = SpooledList(
            TraceResults, (_analyze_entry(folder, entry, out, job, joined) for entry in entries)
        )
        if not any(entry.path for entry in done):
            raise AnalysisError(f"no trace of {folder} could be analysed: {_gather_errors(done)}")
        joined.draw(folder.resolve().name, job.size)
        made = _list_analyses(joined.files, job)
        kept = keep_earlier(target, staging, joined.manifests, [facts["name"] for facts in made])
        about = {"manifests": iter(joined.manifests), "analyses": [*made, *kept]}
        write_index(staging, _describe_collection(done, joined.files) | about)
    for warning in _gather_remarks(done):
        job.report.warn(warning)
    summary = Summary(target, (*joined.files, INDEX))
    return Analyzed(folder, done, tuple(job.report.warnings), summary)


def _analyze_entry(
    collection: Path, entry: Entry, out: Path | None, job: AnalysisJob, joined: Joined
) -> TraceResults:
    folder = collection / entry.folder
    try:
        if entry.status == "failed":
            raise AnalysisError(f"its capture failed: {entry.error}")
        if entry.status == "pending" and not is_there(folder / MANIFEST):
            raise AnalysisError("it is not captured yet; `attn capture` with --resume goes on")
        if out is None:
            refuse_outside(folder, collection)
        target = out and out / entry.folder
        done, results = analyze_trace(folder, target, job, entry)
    except AttnError as error:
        job.report.warn(f"{folder}: {error}")
        return TraceResults(folder, error=str(error))
    joined.add(entry, results)
    return done


def _list_analyses(files: Sequence[str], job: AnalysisJob) -> list[dict[str, Any]]:
    """Return what each analysis that was to run has among the files of a collection."""
    ran = [
        analysis
        for analysis in ANALYSES
        if (analysis.name in job.only if job.only else not analysis.on_request)
    ]
    by_name = {analysis.name: analysis.joins for analysis in ran}
    by_name |= {PAGE: (SUMMARY,)} if SUMMARY in files else {}
    return [
        {"name": name, "files": [file for file in files if file in joins]}
        for name, joins in by_name.items()
    ]


def _gather_errors(done: Sequence[TraceResults]) -> str:
    """Return every reason once, the most frequent first, with the trace or their number."""
    about: dict[str, list[str]] = {}
    for entry in done:
        about.setdefault(str(entry.error), []).append(entry.trace.name)
    reasons = sorted(about.items(), key=lambda pair: -len(pair[1]))
    told = [
        f"{reason} ({names[0] if len(names) == 1 else f'{len(names)} traces'})"
        for reason, names in reasons[:REASONS]
    ]
    rest = len(reasons) - REASONS
    more = [f"and {count_noun(rest, 'more reason')}"] if rest > 0 else []
    return "; ".join([*told, *more]) or "it is empty"


def _gather_remarks(done: Sequence[TraceResults]) -> Iterator[str]:
    """Yield every kind of remark once, with the trace, or how many traces, it is about.

    Remarks are of one kind if they are equal up to a colon, behind which the details are; of
    details that differ the first are shown.
    """
    first: dict[str, tuple[Path, str]] = {}
    counts: Counter[str] = Counter()
    differing: set[str] = set()
    for entry in done:
        kinds: dict[str, str] = {}
        for remark in entry.remarks:
            kinds.setdefault(remark.partition(": ")[0], remark)
        for kind, remark in kinds.items():
            counts[kind] += 1
            if first.setdefault(kind, (entry.trace, remark))[1] != remark:
                differing.add(kind)
    for kind, (trace, remark) in first.items():
        others = f" and {counts[kind] - 1} more" if counts[kind] > 1 else ""
        differ = f" (this of {trace.name}; others differ)" if kind in differing else ""
        yield f"{trace}{others}: {remark}{differ}"


def _describe_collection(done: Sequence[TraceResults], files: Sequence[str]) -> dict[str, Any]:
    """Build the content of a collection's `analysis.json`."""
    from attn.versions import attn_version

    traces = (
        {"trace": entry.trace.name, "error": entry.error, "skipped": dict(entry.skipped)}
        for entry in done
    )
    return {"attn": attn_version(), "traces": traces, "files": list(files)}
