"""`attn evaluate`: do the maps of words find what the words name?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attn.errors import AnalysisError, AttnError
from attn.verbs.capture.collection import Entry, is_collection, read_index
from attn.verbs.capture.folders import refuse_outside, refuse_parts
from attn.verbs.evaluate.answer import SCORES, SEGMENTATION, tell_scores
from attn.verbs.evaluate.options import SHAPES, EvaluateOptions
from attn.verbs.evaluate.pieces import EvaluatedTraces
from attn.verbs.evaluate.results import FOLDER, Evaluated, EvaluationFindings, write_results
from attn.verbs.evaluate.sink_table import tell_sinks
from attn.verbs.options import takes
from attn.verbs.report import Report
from attn.verbs.workers.readers import (
    describe_reads,
    own_part,
    read_with_workers,
    refuse_single,
    wants_readers,
)
from attn.wording import count_noun, list_some

if TYPE_CHECKING:
    from attn.analysis.scores.scored import MapScore
    from attn.trace.trace import Trace

LISTED = 5
"""So many pictures without truth are named."""


@takes(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> Evaluated:
    """Score the maps of words where it is known what they name: `attn evaluate`.

    Every picture is scored in every way to make one map of many that its trace holds: all layers,
    each layer, head and step, DAAM's pooling. Results replace those of an earlier evaluation.

    Args:
        options: see `EvaluateOptions`.

    Raises:
        UsageError: nothing is named to hold maps against.
        AnalysisError: nothing is known of any picture, or a mask is not usable.
        TraceError: a trace cannot be read, or the results cannot be written.
    """
    folder, report = Path(options.path), options.report or Report()
    target = Path(options.out) if options.out else folder / FOLDER
    if options.out is None:
        refuse_outside(target, folder)
    else:
        refuse_parts(target.parent)
    evaluated = EvaluatedTraces(options)
    if not is_collection(folder):
        refuse_single(options, folder)
    elif options.shard is not None:
        return _evaluate_part(folder, options, evaluated, report)
    elif wants_readers(options):
        names = [entry.folder for entry in _complete(folder)]
        read_with_workers(options, describe_reads("evaluate", options), names, report)
    traces = dict(_open(folder, report))
    findings = _score(traces, options, evaluated, report) if options.truth is not None else None
    if options.sinks:
        findings = _with_sinks(findings, traces, evaluated)
    written = write_results(_require(findings), target, options.pictures, report)
    evaluated.forget()
    return written


def _complete(folder: Path) -> list[Entry]:
    return [entry for entry in read_index(folder) if entry.status == "complete"]


def _evaluate_part(
    folder: Path, options: EvaluateOptions, evaluated: EvaluatedTraces, report: Report
) -> Evaluated:
    """Score the traces of one shard; tables of all are made when all are there."""
    from attn.trace.trace import open_trace

    entries = _complete(folder)
    own = own_part(options, entries)
    for index in own:
        name = entries[index].folder
        try:
            evaluated.look(name, open_trace(folder / name))
        except AttnError as error:
            report.warn(str(error), name)
    told = (
        f"Shard {options.shard}: {len(own)} of {count_noun(len(entries), 'trace')}. When all "
        "shards are done, the same command without --shard makes the tables of all."
    )
    return Evaluated(folder, told, {}, (), {}, tuple(report.warnings))


def _require(findings: EvaluationFindings | None) -> EvaluationFindings:
    if findings is None:
        raise AnalysisError("nothing was computed")
    return findings


def _open(folder: Path, report: Report) -> Iterator[tuple[str, Trace]]:
    """Yield the traces of a run by the names of their folders; what is unfinished is left out."""
    from attn.trace.trace import open_trace

    if not is_collection(folder):
        yield folder.resolve().name, open_trace(folder)
        return
    for entry in read_index(folder):
        if entry.status != "complete":
            report.warn(f"{folder / entry.folder} is left out: its capture is {entry.status}")
            continue
        yield entry.folder, open_trace(folder / entry.folder)


def _score(
    traces: Mapping[str, Trace],
    options: EvaluateOptions,
    evaluated: EvaluatedTraces,
    report: Report,
) -> EvaluationFindings:
    """Score all pictures against the truth.

    Raises:
        AnalysisError: nothing is known of any of them.
    """
    from attn.analysis.scores.summary import summarise, summarise_segmentation
    from attn.analysis.tables import make_frame, with_layer_names
    from attn.schema import name_layers

    pictures = list(_score_all(traces, options, evaluated, report))
    first = next(iter(traces.values()))
    names = name_layers(first.layers)
    scored = {SCORES: summarise(pictures), SEGMENTATION: summarise_segmentation(pictures)}
    tables = {name: with_layer_names(table, names) for name, table in scored.items() if table}
    frames = {name: make_frame(table) for name, table in tables.items()}
    prompts = dict.fromkeys(trace.manifest.request.prompt for trace in traces.values())
    return EvaluationFindings(
        list_some(prompts, 1),
        f"{first.manifest.backend} · {count_noun(len(pictures), 'picture')} · held against "
        f"{options.truth}",
        tables,
        tell_scores(frames[SCORES], frames[SEGMENTATION]),
        _choices(options),
    )


def _score_all(
    traces: Mapping[str, Trace],
    options: EvaluateOptions,
    evaluated: EvaluatedTraces,
    report: Report,
) -> Iterator[Sequence[MapScore]]:
    """Yield the scores of each picture of which something is known.

    Raises:
        AnalysisError: a picture cannot be scored; of several, if it is so with all.
    """
    unknown: list[str] = []
    failed: list[str] = []
    for name, trace in traces.items():
        try:
            scores = evaluated.scores(name, trace)
            unknown += scores.unknown
            yield from scores.pictures
        except AttnError as error:
            if len(traces) == 1:
                raise
            failed.append(name)
            report.warn(str(error), name)
    if {*failed, *unknown} and len(failed) == len(traces):
        raise AnalysisError(f"no picture could be scored: {report.warnings[-1]}")
    if unknown:
        missing = f"{options.truth} says nothing of {list_some(unknown, LISTED)}"
        if len(unknown) == sum(trace.manifest.samples for trace in traces.values()):
            raise AnalysisError(f"{missing}: there is no word of these prompts, in no picture")
        report.warn(f"{missing}: left out")


def _choices(options: EvaluateOptions) -> dict[str, str]:
    """Return how it is scored, which is written with the result."""
    from attn.analysis.scores import localise, segmentation
    from attn.analysis.scores.intervals import FEWEST, RESAMPLES

    judge = "the judge of the shapes world, on the picture that was drawn"
    thresholds = ", ".join(f"{threshold:g}" for threshold in options.thresholds)
    return {
        "truth": judge if options.truth == SHAPES else f"masks of {options.truth}",
        "grid": "regions are brought to the grid of each map: half of a place's area",
        "pointing": "part of the largest values that lies in the region, no tolerance",
        "overlap": f"iou@T: the map, scaled to 0-1, is at least T; {thresholds}",
        "precision": "average precision over all places of the grid, ties as one threshold",
        "daam": f"map resized bicubically to the mask, scaled to 0-1, above "
        f"{localise.DAAM_THRESHOLD:g}",
        "classes": "a picture's words of a class count once; mean over pictures, then over classes",
        "segmentation": "; ".join(f"{key} {text}" for key, text in segmentation.CHOICES.items()),
        "intervals": f"95 %, percentiles of {RESAMPLES} bootstrap draws of pictures; none for "
        f"fewer than {FEWEST}",
    }


def _with_sinks(
    findings: EvaluationFindings | None, traces: Mapping[str, Trace], evaluated: EvaluatedTraces
) -> EvaluationFindings:
    """Add the tables of sinks, and what they say."""
    from attn.analysis.tables import make_frame, stack_tables

    made = [evaluated.sinks(name, trace) for name, trace in traces.items()]
    tables = {file: stack_tables([of[file] for of in made]) for file in made[0]}
    told = tell_sinks({name: make_frame(table) for name, table in tables.items()})
    first = next(iter(traces.values())).manifest
    if findings is None:
        subtitle = f"{first.backend} · {count_noun(len(traces), 'trace')}"
        findings = EvaluationFindings(first.request.prompt, subtitle, {}, (), {})
    return replace(
        findings,
        tables={**findings.tables, **tables},
        paragraph=[*findings.paragraph, *told],
        choices={**findings.choices, "sinks": "docs/evaluate.md has the rules"},
    )
