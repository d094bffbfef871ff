"""What an analysis left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


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
        answer: the first paragraph of its report.
        offered: names of analyses that could run, but do only if they are asked for.
    """

    trace: Path
    path: Path | None = None
    files: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    remarks: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Summary:
    """What all traces of a collection have together: tables of all rows, and one page."""

    path: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Analyzed:
    """What an analysis of a trace or a collection left; only a collection has a `summary`."""

    path: Path
    traces: Sequence[TraceResults]
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
