"""The scores of single traces, which may be kept until the tables of all of them are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.errors import TraceError
from attn.trace.store import MANIFEST
from attn.verbs.analyze.earlier import trace_digest
from attn.verbs.capture.collection import read_index
from attn.verbs.evaluate.options import SHAPES, EvaluateOptions
from attn.verbs.evaluate.sink_table import trace_sinks
from attn.verbs.evaluate.truths import Truth, open_truth
from attn.verbs.workers.pieces import PieceFolder, TracePiece

if TYPE_CHECKING:
    from attn.analysis.scores.regions import WordRegion
    from attn.analysis.scores.scored import MapScore
    from attn.analysis.tables import Columns
    from attn.trace.trace import Trace
    from attn.verbs.report import Report
    from attn.verbs.workers.work import ReadRecipe

PIECES = ".evaluation.pieces"
SCORES, SINKS = "scores", "sinks"


@dataclass(frozen=True)
class TraceScores:
    """What the maps of one trace reach.

    Attributes:
        pictures: the scores of each picture of which something is known.
        unknown: names of the others.
    """

    pictures: Sequence[Sequence[MapScore]]
    unknown: Sequence[str]


class EvaluatedTraces:
    """The traces of a run as they are scored, one by one, here or elsewhere."""

    def __init__(self, options: EvaluateOptions) -> None:
        """Open the truth.

        Args:
            options: of the verb.

        Raises:
            AnalysisError: there is nothing that maps could be held against.
        """
        self._options = options
        truth = options.truth
        self._truth: Truth | None = None if truth is None else open_truth(str(truth))
        masks = [] if truth in (None, SHAPES) else list(_fingerprint(Path(str(truth))))
        about = [options.words, list(options.thresholds), truth, masks]
        self._pieces = PieceFolder(Path(options.out or options.path) / PIECES, about)

    def scores(self, name: str, trace: Trace) -> TraceScores:
        """Score the pictures of a trace, unless that was done.

        Raises:
            AttnError: it cannot be scored.
        """
        if kept := self._find(SCORES, name, trace):
            pictures = [
                [_score(facts, kept.arrays) for facts in picture] for picture in kept.facts[0]
            ]
            return TraceScores(pictures, kept.facts[1])
        from attn.analysis.scores.scored import score_trace

        unknown: list[str] = []
        regions = dict(self._regions(name, trace, unknown))
        if not regions:
            return TraceScores((), unknown)
        scored = score_trace(trace, regions, tuple(self._options.thresholds))
        return TraceScores(list(scored.values()), unknown)

    def sinks(self, name: str, trace: Trace) -> Mapping[str, Columns]:
        """Return the tables of a trace's sinks, as found here or elsewhere.

        Raises:
            AnalysisError: it has no masses of keys.
        """
        if kept := self._find(SINKS, name, trace):
            return {
                file: {
                    column: np.array(values, object)
                    if values is not None
                    else kept.arrays[f"{file}\n{column}"]
                    for column, values in columns.items()
                }
                for file, columns in kept.facts.items()
            }
        return trace_sinks(name, trace)

    def look(self, name: str, trace: Trace) -> None:
        """Do with a trace what is asked for, unless that was done, and keep it.

        Raises:
            AttnError: it cannot be scored.
        """
        if self._truth is not None:
            self._keep(SCORES, name, trace, _score_piece(self.scores(name, trace)))
        if self._options.sinks:
            self._keep(SINKS, name, trace, _table_piece(self.sinks(name, trace)))

    def forget(self) -> None:
        """Take away what was kept.

        Raises:
            TraceError: it cannot be removed.
        """
        self._pieces.remove()

    def _regions(
        self, name: str, trace: Trace, unknown: list[str]
    ) -> Iterator[tuple[int, Sequence[WordRegion]]]:
        """Yield what is known of each picture of a trace, and note those of which nothing is."""
        from attn.words import word_keys

        wanted = {word_keys(word) for word in self._options.words or ()}
        for sample in range(trace.manifest.samples):
            regions = [
                region
                for region in (self._truth(trace, sample) if self._truth else ())
                if not wanted or word_keys(region.word) in wanted
            ]
            if regions:
                yield sample, regions
            else:
                unknown.append(f"{name}, picture {sample}" if trace.manifest.samples > 1 else name)

    def _find(self, part: str, name: str, trace: Trace) -> TracePiece | None:
        try:
            return self._pieces.read(part, name, trace_digest(trace.folder or Path(name)))
        except TraceError:
            return None

    def _keep(self, part: str, name: str, trace: Trace, piece: TracePiece) -> None:
        self._pieces.write(piece, part, name, trace_digest(trace.folder or Path(name)))


def open_look(recipe: ReadRecipe, report: Report) -> Callable[[int], object]:
    """Return what a worker does with each trace of a collection, by index."""
    from attn.trace.trace import open_trace

    options = EvaluateOptions(**recipe.options, report=report)
    folder = Path(options.path)
    names = [entry.folder for entry in read_index(folder) if entry.status == "complete"]
    traces = EvaluatedTraces(options)
    return lambda index: traces.look(names[index], open_trace(folder / names[index]))


def _fingerprint(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield what tells that files of a folder were changed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            about = path.stat()
            yield str(path.relative_to(folder)), about.st_size, about.st_mtime_ns


def _score_piece(scores: TraceScores) -> TracePiece:
    arrays: dict[str, Any] = {}
    pictures: list[list[dict[str, Any]]] = []
    for picture in scores.pictures:
        pictures.append([])
        for score in picture:
            key = str(len(arrays))
            arrays[key] = np.zeros(0) if score.tally is None else score.tally.counts
            facts = {**vars(score), "pooling": vars(score.pooling), "scores": dict(score.scores)}
            pictures[-1].append(facts | {"tally": None if score.tally is None else key})
    return TracePiece([pictures, list(scores.unknown)], arrays)


def _score(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> MapScore:
    from attn.analysis.scores.poolings import Pooling
    from attn.analysis.scores.scored import MapScore
    from attn.analysis.scores.segmentation import Tally

    tally = None if facts["tally"] is None else Tally(arrays[facts["tally"]])
    return MapScore(**(dict(facts) | {"pooling": Pooling(**facts["pooling"]), "tally": tally}))


def _table_piece(tables: Mapping[str, Columns]) -> TracePiece:
    columns = {
        (file, name): np.asarray(column)
        for file, table in tables.items()
        for name, column in table.items()
    }
    facts: dict[str, dict[str, Any]] = {file: {} for file in tables}
    for (file, name), column in columns.items():
        facts[file][name] = column.tolist() if column.dtype.kind == "O" else None
    numbers = {"\n".join(of): column for of, column in columns.items() if column.dtype.kind != "O"}
    return TracePiece(facts, numbers)
