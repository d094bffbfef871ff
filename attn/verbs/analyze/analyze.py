"""`attn analyze`: tables and pictures of what was captured, without the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.analysis.needs import Lack
from attn.analysis.registry import ANALYSES, Analysis, AnalysisPlan, find, plan
from attn.errors import AnalysisError, AttnError, UsageError, did_you_mean
from attn.files.disk import as_utf8, is_there
from attn.files.results import replaced
from attn.options import parse_options
from attn.trace.store import MANIFEST
from attn.verbs.analyze.absence import fit, refuse_absent
from attn.verbs.analyze.collection_tables import Findings, Joined
from attn.verbs.analyze.figures import draw_result, note_fonts
from attn.verbs.capture.collection import Entry, is_collection, read_index, require_listed
from attn.verbs.capture.folders import ANALYSIS as FOLDER
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX
from attn.verbs.capture.folders import refuse_outside, refuse_parts
from attn.verbs.inputs import as_tuple
from attn.verbs.report import Report, warn_of_failures
from attn.viz.sizes import DPI, FigureSize

if TYPE_CHECKING:
    from attn.trace.trace import Trace

SCHEMA = 1
"""Version of `analysis.json`."""
REASONS = 3
"""So many reasons why traces failed are in the error of a collection, more are counted."""

Options = Mapping[str, Any]
"""Options of every analysis, by its name."""


@dataclass(frozen=True)
class TraceResults:
    """What became of one trace.

    Attributes:
        trace: its folder.
        path: where its results are; None if it failed.
        files: relative to `path`, `analysis.json` last.
        skipped: by the name of an analysis that did not run: why, and what would enable it.
        error: why the trace failed.
        remarks: what the reader of the results should know.
        offered: names of analyses that could run, but do only if they are asked for.
    """

    trace: Path
    path: Path | None = None
    files: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    remarks: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What all traces of a collection have together: tables of all rows, and one page."""

    path: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Analyzed:
    """What an analysis of a trace or a collection left; only a collection has a `summary`."""

    path: Path
    traces: tuple[TraceResults, ...]
    warnings: tuple[str, ...] = ()
    summary: Summary | None = None

    @property
    def status(self) -> str:
        """`complete`, or `partial` if a trace of the collection failed."""
        return "partial" if self.failures else "complete"

    @property
    def failures(self) -> tuple[TraceResults, ...]:
        """The traces of a collection that could not be analysed."""
        return tuple(entry for entry in self.traces if entry.error)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that was written."""
        files = [entry.path / file for entry in self.traces if entry.path for file in entry.files]
        joined = [self.summary.path / file for file in self.summary.files] if self.summary else []
        return (*files, *joined)

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The pictures and films among the files."""
        return tuple(file for file in self.files if file.suffix in (".png", ".gif"))


def analyze(  # noqa: PLR0913 - one argument per option of the command
    path: str | Path,
    *,
    words: str | Iterable[str] | None = None,
    phrases: str | Iterable[str] | None = None,
    topk: int | None = None,
    only: str | Iterable[str] | None = None,
    pooling: str | None = None,
    settings: Mapping[str, str] | None = None,
    pictures: bool = True,
    figsize: tuple[float, float] | None = None,
    dpi: int = DPI,
    out: str | Path | None = None,
    report: Report | None = None,
) -> Analyzed:
    """Analyse a trace, or every trace of a collection: `attn analyze`.

    Results replace those of an earlier analysis as a whole; if it fails, the earlier ones stay.
    What others put into their folder stays in any case.

    Args:
        path: folder of a trace or of a collection.
        words: one word of the prompt to look at, or several; None is all.
        phrases: words in a row to look at together.
        topk: draw only this many words, those of most mass.
        only: names of analyses; None is every one that can run, but those that run on request.
        pooling: how one map is made of many: `mean` (None) or `daam`.
        settings: options as `ANALYSIS.KEY: VALUE`, or `KEY: VALUE` of all that have such a one.
        pictures: also draw. Of a collection, the summary page is drawn in any case.
        figsize: width and height in inches that every page is scaled to, keeping its proportions;
            None leaves each as large as it is laid out.
        dpi: pixels per inch of the pictures.
        out: folder of the results; None is `analysis` in the trace. Of a collection, every trace
            has a folder of its own in it.
        report: told notes and warnings.

    Raises:
        UsageError: an analysis or an option is unknown, or pictures have no possible size.
        AnalysisError: nothing can run, or a word, phrase, layer or step is not there. In a
            collection a word or phrase is an error only if no prompt has it, and left out where
            one does not; other traces that cannot be analysed are `failures`, and an error only
            if no trace is left.
        TraceError: there is no trace, or the results cannot be written.
    """
    folder = Path(path)
    names = None if only is None else as_tuple(only)
    if names == ():
        raise UsageError("only: nothing is named; leave the option out for all analyses")
    requested = {"words": words, "phrases": phrases}
    arguments: dict[str, Any] = {
        key: as_tuple(value) for key, value in requested.items() if value is not None
    }
    if topk is not None:
        arguments["topk"] = topk
    settings = ({} if pooling is None else {"words.pooling": pooling}) | dict(settings or {})
    options = _parse(arguments, settings)
    _refuse_unread(names, arguments, settings)
    told = report or Report()
    job = _Job(names, options, pictures, FigureSize(dpi, figsize), told)
    target = Path(out) if out else None
    if target is not None:
        refuse_parts(target.parent)
    if is_collection(folder):
        analyzed = _analyze_collection(folder, target, job)
    else:
        done, _ = _analyze_trace(folder, target, job)
        for remark in done.remarks:
            told.warn(f"{folder}: {remark}")
        analyzed = Analyzed(folder, (done,), tuple(told.warnings))
    for name in dict.fromkeys(name for entry in analyzed.traces for name in entry.offered):
        told.note(f"'{name}' is skipped unless asked for: attn analyze {folder} --only {name}")
    if report is None:
        failed = {failure.trace.name: str(failure.error) for failure in analyzed.failures}
        warn_of_failures(failed, len(analyzed.traces))
    return analyzed


@dataclass(frozen=True)
class _Job:
    """What is asked of every trace."""

    only: tuple[str, ...] | None
    options: Options
    draws: bool
    size: FigureSize
    report: Report


def _parse(arguments: Mapping[str, Any], settings: Mapping[str, str]) -> Options:
    """Return the options of every analysis; what is given goes to those that have such options."""
    pairs: dict[str, dict[str, str]] = {analysis.name: {} for analysis in ANALYSES}
    for setting in sorted(settings, key=lambda setting: "." in setting):
        name, _, key = setting.rpartition(".")
        for owner in [find(name).name] if name else _owners(key):
            pairs[owner][key] = settings[setting]
    options = {}
    for analysis in ANALYSES:
        parsed = parse_options(analysis.Options, pairs[analysis.name], f"analysis {analysis.name}")
        mine = {option.name for option in fields(parsed)} & arguments.keys()
        try:
            options[analysis.name] = replace(parsed, **{key: arguments[key] for key in mine})
        except ValueError as error:  # checked by the dataclass itself
            raise UsageError(str(error)) from error
    return options


def _refuse_unread(
    only: Sequence[str] | None, arguments: Iterable[str], settings: Iterable[str]
) -> None:
    """Refuse options that none of the analyses has that may run.

    Raises:
        UsageError: names the first.
    """
    usual = [analysis.name for analysis in ANALYSES if not analysis.on_request]
    keys = {
        name: {option.name for option in fields(find(name).Options)}
        for name in (usual if only is None else only)
    }
    of = "the analyses that run without --only" if only is None else ", ".join(keys)
    for option in [*arguments, *settings]:
        owner, _, key = option.rpartition(".")
        read = key in set().union(*keys.values()) if not owner else find(owner).name in keys
        if not read:
            what = f"--set {option}" if option in settings else f"--{option}"
            raise UsageError(
                f"{what} has no effect on {of}: leave it out, or name in --only an "
                "analysis that has it"
            )


def _owners(key: str) -> list[str]:
    """Return the analyses that have an option of that name."""
    options = {
        analysis.name: {option.name for option in fields(analysis.Options)} for analysis in ANALYSES
    }
    owners = [name for name, keys in options.items() if key in keys]
    if not owners:
        hint = did_you_mean(key, set().union(*options.values()))
        raise UsageError(f"no analysis has an option '{key}'.{hint} See `attn analyze --list`.")
    return owners


def _analyze_collection(folder: Path, out: Path | None, job: _Job) -> Analyzed:
    """Analyse a collection; what cannot be analysed is reported and left out."""
    entries = read_index(folder)
    refuse_absent(folder, entries, job.options)
    target = (out or folder) / FOLDER
    if out is None:
        refuse_outside(target, folder)
    with _replaced(target, job) as staging:
        joined = Joined(staging)
        done = [_analyze_entry(folder, entry, out, job, joined) for entry in entries]
        if not any(entry.path for entry in done):
            raise AnalysisError(f"no trace of {folder} could be analysed: {_gather_errors(done)}")
        joined.draw(folder.resolve().name, job.size)
        _write_index(staging, _describe_collection(done, joined.files))
    for warning in _gather_remarks(done):
        job.report.warn(warning)
    summary = Summary(target, (*joined.files, INDEX))
    return Analyzed(folder, tuple(done), tuple(job.report.warnings), summary)


def _analyze_entry(
    collection: Path, entry: Entry, out: Path | None, job: _Job, joined: Joined
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
        done, results = _analyze_trace(folder, target, job, entry)
    except AttnError as error:
        job.report.warn(f"{folder}: {error}")
        return TraceResults(folder, error=str(error))
    joined.add(entry, results)
    return done


def _analyze_trace(
    folder: Path, out: Path | None, job: _Job, entry: Entry | None = None
) -> tuple[TraceResults, Findings]:
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
    findings = Findings(trace.manifest, [])
    with _replaced(target, job) as staging:
        ran = [_run(analysis, trace, job, staging, findings) for analysis in planned.runnable]
        _write_index(staging, _describe(trace, planned, ran))
    notes = [note for facts in ran for note in facts["notes"]]
    files = [file for facts in ran for file in facts["files"]]
    skipped = {name: str(lack) for name, lack in planned.skipped.items()}
    remarks = tuple(dict.fromkeys([*_remarks(trace, planned, absent), *notes]))
    done = TraceResults(folder, target, (*files, INDEX), skipped, None, remarks, planned.offered)
    return done, findings


def _replaced(folder: Path, job: _Job) -> AbstractContextManager[Path]:
    return replaced(folder, "analyze", INDEX, job.report.warn)


def _write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps({"schema": SCHEMA, **facts}, indent=1, ensure_ascii=False)
    (folder / INDEX).write_text(as_utf8(text) + "\n", encoding="utf-8")


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
    more = [f"and {rest} more reason{'s' if rest > 1 else ''}"] if rest > 0 else []
    return "; ".join([*told, *more]) or "it is empty"


def _gather_remarks(done: Sequence[TraceResults]) -> Iterator[str]:
    """Yield every kind of remark once, with the trace, or how many traces, it is about.

    Remarks are of one kind if they are equal up to a colon, behind which the details are; of
    details that differ the first are shown.
    """
    about: dict[str, dict[Path, str]] = {}
    for entry in done:
        for remark in entry.remarks:
            about.setdefault(remark.partition(": ")[0], {}).setdefault(entry.trace, remark)
    for remarks in about.values():
        trace, remark = next(iter(remarks.items()))
        others = f" and {len(remarks) - 1} more" if len(remarks) > 1 else ""
        differ = f" (this of {trace.name}; others differ)" if len(set(remarks.values())) > 1 else ""
        yield f"{trace}{others}: {remark}{differ}"


def _without(planned: AnalysisPlan, options: Options) -> AnalysisPlan:
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
    analysis: Analysis, trace: Trace, job: _Job, folder: Path, findings: Findings
) -> dict[str, Any]:
    """Run one analysis, write its files, and return what the index says of it."""
    from attn.analysis.tables import write_table

    options = job.options[analysis.name]
    try:
        result = analysis.run(trace, options)
    except AnalysisError as error:
        raise AnalysisError(f"'{analysis.name}': {error}") from error
    for path, table in result.tables.items():
        write_table(table, folder / path)
    for path, file in result.files.items():
        file.write(folder / path)
    drawn: tuple[str, ...] = ()
    if job.draws and analysis.draw:
        drawn = draw_result(analysis.draw, result, trace, folder, job.size)
    notes = [*result.notes, *(note_fonts(trace.manifest) if drawn else ())]
    findings.take(analysis.joins, result)
    return {
        "name": analysis.name,
        "options": asdict(options),
        "files": [*result.tables, *result.files, *drawn],
        "notes": notes,
    }


def _describe(
    trace: Trace, planned: AnalysisPlan, ran: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Build the content of `analysis.json`."""
    from attn import __version__

    manifest = trace.manifest
    return {
        "attn": __version__,
        "trace": {
            "status": manifest.status,
            "backend": manifest.backend,
            "prompt": manifest.request.prompt,
            "seed": manifest.request.seed,
        },
        "analyses": ran,
        "skipped": {name: asdict(lack) for name, lack in planned.skipped.items()},
        "reduced": {name: asdict(lack) for name, lack in planned.reduced.items()},
    }


def _describe_collection(done: Sequence[TraceResults], files: Sequence[str]) -> dict[str, Any]:
    """Build the content of a collection's `analysis.json`."""
    from attn import __version__

    traces = [
        {"trace": entry.trace.name, "error": entry.error, "skipped": dict(entry.skipped)}
        for entry in done
    ]
    return {"attn": __version__, "traces": traces, "files": list(files)}
