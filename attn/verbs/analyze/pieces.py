"""What is kept of the analyses of single traces, until the tables of all of them are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from attn.analysis.digest import Digest
from attn.analysis.tables import spell_table
from attn.errors import AnalysisError, TraceError
from attn.files.disk import is_there
from attn.files.outside import read_bytes
from attn.trace.remote import TraceSource, open_source
from attn.trace.store import MANIFEST
from attn.trace.words.occurrences import list_vocabulary
from attn.verbs.analyze.collection_tables import Findings, SpelledFindings, label_findings
from attn.verbs.analyze.earlier import trace_digest
from attn.verbs.analyze.options import AnalyzeOptions
from attn.verbs.analyze.results import TraceResults
from attn.verbs.analyze.traces import AnalysisJob, analyze_trace, read_job
from attn.verbs.capture.collection import Entry, read_index
from attn.verbs.capture.folders import ANALYSIS as FOLDER
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX
from attn.verbs.capture.folders import refuse_outside
from attn.verbs.workers.pieces import PieceFolder, TracePiece

if TYPE_CHECKING:
    from attn.verbs.report import Report
    from attn.verbs.workers.work import ReadRecipe

PIECES = ".analysis.pieces"
PATHS = ("trace", "path")


class CollectionTraces:
    """The traces of a collection as they are analysed, one by one, here or elsewhere.

    Attributes:
        vocabulary: the words of all of them, each of which has one colour in all figures.
    """

    def __init__(
        self, source: TraceSource, out: Path | None, job: AnalysisJob, entries: Iterable[Entry]
    ) -> None:
        """Take what is done with each.

        Args:
            source: of the collection.
            out: folder of the results; None is the collection and its traces.
            job: what is asked of every trace.
            entries: all of them.
        """
        vocabulary = list_vocabulary(entry.prompt for entry in entries)
        self.vocabulary = vocabulary
        self._source, self._folder, self._out = source, source.folder, out
        self._job = replace(job, vocabulary=vocabulary)
        decides = {name: asdict(options) for name, options in job.options.items()}
        about = [job.only, decides, job.draws, asdict(job.size), vocabulary]
        self._pieces = PieceFolder((out or source.folder) / PIECES, about)

    def named(self, text: str) -> str:
        """Return a message in which the collection has the name that it was opened by."""
        return text.replace(str(self._folder), self._source.name)

    def begin(self, staging: Path) -> None:
        """Build results of traces beside those of the collection, which lie in `staging`."""
        self._job = replace(self._job, whole=staging)

    def analyze(self, entry: Entry) -> tuple[TraceResults, Findings]:
        """Analyse a trace.

        Raises:
            AttnError: it cannot be analysed.
        """
        folder = self._folder / entry.folder
        if entry.status == "failed":
            raise AnalysisError(f"its capture failed: {entry.error}")
        if entry.status == "pending":
            with suppress(TraceError):  # it may not be begun
                self._source.bring(entry.folder)
        else:
            self._source.bring(entry.folder)
        if entry.status == "pending" and not is_there(folder / MANIFEST):
            raise AnalysisError("it is not captured yet; `attn capture` with --resume goes on")
        if self._out is None:
            refuse_outside(folder, self._folder)
        return analyze_trace(folder, self._out and self._out / entry.folder, self._job, entry)

    def look(self, entry: Entry) -> TraceResults:
        """Analyse a trace, unless that was done, and keep what the tables of all need.

        Raises:
            AttnError: it cannot be analysed.
        """
        if kept := self.find(entry):
            return kept[0]
        done, findings = self.analyze(entry)
        facts, arrays = dict[str, Any](), dict[str, Any]()
        for name, digest in findings.digests.items():
            facts[name] = {key: value for key, value in vars(digest).items() if key != "series"}
            arrays |= {f"{name}\n{key}": line for key, line in digest.series.items()}
        tables = [(name, *spell_table(table)) for name, table in label_findings(entry, findings)]
        about = {name: value for name, value in vars(done).items() if name not in PATHS}
        piece = TracePiece([about, self._results(entry), tables, facts, findings.digest], arrays)
        self._pieces.write(piece, entry.folder, findings.digest)
        return done

    def find(self, entry: Entry) -> tuple[TraceResults, SpelledFindings] | None:
        """Return what was kept of a trace, if that and its results are as they were."""
        if not self._pieces.is_there():
            return None
        try:
            digest = trace_digest(self._source.bring(entry.folder, shards=False))
            piece = self._pieces.read(entry.folder, digest)
            if piece is None or piece.facts[1] != self._results(entry):
                return None
        except TraceError:
            return None
        about, _, tables, digests, _ = piece.facts
        done = msgspec.convert({"trace": "", **about}, TraceResults, dec_hook=_path)
        done = replace(done, trace=self._folder / entry.folder, path=self._target(entry))
        read = {name: _digest(name, facts, piece) for name, facts in digests.items()}
        return done, SpelledFindings([tuple(table) for table in tables], read, digest)

    def forget(self) -> None:
        """Take away what was kept.

        Raises:
            TraceError: it cannot be removed.
        """
        self._pieces.remove()

    def _target(self, entry: Entry) -> Path:
        if self._out is not None:
            return self._out / entry.folder
        return self._folder / entry.folder / FOLDER

    def _results(self, entry: Entry) -> str:
        return sha256(read_bytes(self._target(entry) / INDEX)).hexdigest()


def open_look(recipe: ReadRecipe, report: Report) -> Callable[[int], object]:
    """Return what a worker does with each trace of a collection, by index."""
    options = AnalyzeOptions(**recipe.options, report=report)
    source, out = open_source(options.path), Path(options.out) if options.out else None
    entries = read_index(source.folder)
    traces = CollectionTraces(source, out, read_job(options, report), entries)
    return lambda index: traces.look(entries[index])


def _digest(name: str, facts: Mapping[str, Any], piece: TracePiece) -> Digest:
    start = f"{name}\n"
    series = {
        key.removeprefix(start): np.asarray(line)
        for key, line in piece.arrays.items()
        if key.startswith(start)
    }
    changes = {"x": tuple(facts["x"]), "noise": tuple(facts["noise"])}
    names = {int(key): value for key, value in facts["names"].items()}
    return Digest(series, **(dict(facts) | changes | {"names": names}))


def _path(kind: type[Any], value: Any) -> Any:
    return kind(value)
