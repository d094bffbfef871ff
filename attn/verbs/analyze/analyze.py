"""`attn analyze`: tables and pictures of what was captured, without the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attn.analysis.registry import ANALYSES
from attn.errors import AnalysisError, AttnError
from attn.files.spool import SpooledList
from attn.trace.remote import open_source
from attn.verbs.analyze.absence import refuse_absent
from attn.verbs.analyze.collection_tables import SUMMARY, Joined
from attn.verbs.analyze.earlier import PAGE, keep_earlier
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.analyze.pieces import CollectionTraces
from attn.verbs.analyze.results import Analyzed, Summary, TraceResults
from attn.verbs.analyze.traces import (
    AnalysisJob,
    analyze_trace,
    read_job,
    replaced_results,
    write_index,
)
from attn.verbs.capture.collection import Entry, is_collection, read_index
from attn.verbs.capture.folders import ANALYSIS as FOLDER
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX
from attn.verbs.capture.folders import refuse_outside, refuse_parts
from attn.verbs.options import takes
from attn.verbs.report import Report, warn_of_failures
from attn.verbs.workers.readers import (
    describe_reads,
    own_part,
    read_with_workers,
    refuse_single,
    wants_readers,
)
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
    told = options.report or Report()
    source = open_source(options.path, told.note)
    folder = source.folder
    job = read_job(options, told)
    target = Path(options.out) if options.out else None
    if target is not None:
        refuse_parts(target.parent)
    if is_collection(folder):
        entries = SpooledList(Entry, read_index(folder))
        traces = CollectionTraces(source, target, job, entries)
        refuse_absent(source, entries, job.options)
        if options.shard is not None:
            analyzed = _analyze_part(folder, entries, options, traces, told)
        else:
            lost = _read_with_workers(options, entries, told)
            analyzed = _analyze_collection(folder, target, job, (entries, traces, lost))
    else:
        refuse_single(options, source.bring())
        done, _ = analyze_trace(folder, target, job)
        for remark in done.remarks:
            told.warn(f"{folder}: {remark}")
        analyzed = Analyzed(folder, (done,), tuple(told.warnings))
    for name in dict.fromkeys(name for entry in analyzed.traces for name in entry.offered):
        told.note(f"'{name}' is skipped unless asked for: attn analyze {source.name} --only {name}")
    if options.report is None:
        failed = {failure.trace.name: str(failure.error) for failure in analyzed.failures}
        warn_of_failures(failed, len(analyzed.traces))
    return analyzed


def _read_with_workers(
    options: AnalyzeOptions, entries: Sequence[Entry], report: Report
) -> Mapping[int, str]:
    if not wants_readers(options):
        return {}
    recipe = describe_reads("analyze", options)
    return read_with_workers(options, recipe, (entry.folder for entry in entries), report)


def _analyze_part(
    folder: Path,
    entries: Sequence[Entry],
    options: AnalyzeOptions,
    traces: CollectionTraces,
    report: Report,
) -> Analyzed:
    """Analyse the traces of one shard; tables of all are made when all are there."""
    own = own_part(options, entries)
    done: SpooledList[TraceResults] = SpooledList(TraceResults)
    for index in own:
        path = folder / entries[index].folder
        try:
            done.append(traces.look(entries[index]))
        except AttnError as error:
            report.warn(traces.named(f"{path}: {error}"))
            done.append(TraceResults(path, error=str(error)))
    report.note(
        f"shard {options.shard}: {len(own)} of {count_noun(len(entries), 'trace')}; when all "
        "shards are done, the same command without --shard makes the tables of all"
    )
    return Analyzed(folder, done, tuple(report.warnings))


def _analyze_collection(
    folder: Path,
    out: Path | None,
    job: AnalysisJob,
    of: tuple[Sequence[Entry], CollectionTraces, Mapping[int, str]],
) -> Analyzed:
    """Analyse a collection; what cannot be analysed is reported and left out.

    Args:
        folder: of the collection.
        out: folder of the results; None is the collection itself.
        job: what is asked of every trace.
        of: its entries; how each is analysed; and why workers were lost with some, by index.
    """
    entries, traces, lost = of
    target = (out or folder) / FOLDER
    if out is None:
        refuse_outside(target, folder)
    with replaced_results(target, job) as staging:
        traces.begin(staging)
        joined = Joined(staging)
        looked = (
            _analyze_entry(folder, entry, traces, joined, lost.get(at), job.report)
            for at, entry in enumerate(entries)
        )
        done = SpooledList(TraceResults, looked)
        if not any(entry.path for entry in done):
            raise AnalysisError(f"no trace of {folder} could be analysed: {_gather_errors(done)}")
        joined.draw(folder.resolve().name, job.size, traces.vocabulary)
        made = _list_analyses(joined.files, job)
        kept = keep_earlier(target, staging, joined.manifests, [facts["name"] for facts in made])
        about = {"manifests": iter(joined.manifests), "analyses": [*made, *kept]}
        write_index(staging, _describe_collection(done, joined.files) | about)
    traces.forget()
    for warning in _gather_remarks(done):
        job.report.warn(traces.named(warning))
    summary = Summary(target, (*joined.files, INDEX))
    return Analyzed(folder, done, tuple(job.report.warnings), summary)


def _analyze_entry(
    collection: Path,
    entry: Entry,
    traces: CollectionTraces,
    joined: Joined,
    lost: str | None,
    report: Report,
) -> TraceResults:
    try:
        if lost is not None:
            raise AnalysisError(lost)
        if kept := traces.find(entry):
            done, spelled = kept
            joined.add_spelled(entry, spelled)
        else:
            done, findings = traces.analyze(entry)
            joined.add(entry, findings)
    except AttnError as error:
        folder = collection / entry.folder
        report.warn(traces.named(f"{folder}: {error}"))
        return TraceResults(folder, error=str(error))
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
