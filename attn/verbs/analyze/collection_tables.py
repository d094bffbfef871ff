"""What the traces of a collection have in common: one table of all their rows, one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.digest import Digest, Gathered
from attn.analysis.result import Result
from attn.analysis.tables import (
    Columns,
    Table,
    append_spelled,
    append_table,
    label_table,
    make_table,
)
from attn.files.disk import as_utf8
from attn.files.spool import SpooledList

if TYPE_CHECKING:
    from attn.schema import Manifest
    from attn.verbs.capture.collection import Entry
    from attn.viz.sizes import FigureSize

TRACES = "traces.csv"
SUMMARY = "summary.png"
ON_PAGE = (
    "concepts.csv",
    "place.csv",
    "read_words.csv",
    "readers.csv",
    "pairs.csv",
    "shapes.csv",
    "deviation.csv",
    "dominant.csv",
    "words_summary.csv",
    "phrases_summary.csv",
    "grid_analysis_4x4.csv",
    "aligned.csv",
    "roles.csv",
    "sinks.csv",
    "balance.csv",
)
"""Tables of the page of a trace, by name; the others have a row for every layer or step."""
DRAWN = 4
"""Prompts whose words are drawn, the first ones; the tables have all."""
LONGEST = 80
"""Letters of a prompt in a row of a joined table; `traces.csv` has the whole."""


@dataclass(frozen=True)
class Findings:
    """What is kept of the analyses of one trace: rows to join, what its page shows, and digests.

    Attributes:
        manifest: of the trace.
        tables: to join, with their names.
        digest: SHA-256 of the manifest.
        shown: of its page, by path.
        digests: by name.
    """

    manifest: Manifest
    tables: list[tuple[str, Columns]]
    digest: str
    shown: dict[str, Columns] = field(default_factory=dict)
    digests: dict[str, Digest] = field(default_factory=dict)

    def take(self, names: Sequence[str], result: Result) -> None:
        """Keep the tables of these names, those of the page, and the digests, of one result."""
        for path, table in result.columns.items():
            name = path.rpartition("/")[2]
            if name in names:
                self.tables.append((name, table))
            if name in ON_PAGE:
                self.shown[path] = table
        self.digests.update(result.digests)


@dataclass(frozen=True)
class SpelledFindings:
    """What is kept of the analyses of one trace by a process that does not join them.

    Attributes:
        tables: name, header line and rows, as they are written.
        digests: by name.
        digest: SHA-256 of the trace's manifest.
    """

    tables: Sequence[tuple[str, str, str]]
    digests: Mapping[str, Digest]
    digest: str


class Joined:
    """Gathers the results of traces, one after the other, in little memory.

    Rows go to disk at once, into `<table>.csv` with the columns trace, prompt and seed before the
    table's own; a table that there is of several segments becomes one. What the summary page shows
    of a trace is in a file too.

    Attributes:
        folder: of the results.
        files: tables and page, relative to it.
        manifests: SHA-256 of the manifest of every trace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[str] = []
        self.manifests: SpooledList[str] = SpooledList(str)
        self._digests: dict[tuple[str, str], Gathered] = {}
        self._count = 0
        self._prompts: dict[str, int] = {}
        self._seeds: tuple[int, ...] = ()

    def add(self, entry: Entry, findings: Findings) -> None:
        """Take the results of one trace."""
        for name, table in label_findings(entry, findings):
            append_table(table, self._file(name))
        self._note(entry, findings.digests, findings.digest)

    def add_spelled(self, entry: Entry, spelled: SpelledFindings) -> None:
        """Take the results of one trace as another process spelled them."""
        for name, header, rows in spelled.tables:
            append_spelled(header, rows, self._file(name))
        self._note(entry, spelled.digests, spelled.digest)

    def _note(self, entry: Entry, digests: Mapping[str, Digest], manifest: str) -> None:
        prompt = _prompt(entry)
        number = self._prompts.setdefault(prompt, len(self._prompts) + 1)
        for name, digest in digests.items():
            of = prompt if digest.is_of_prompt else ""
            if not of or number <= DRAWN:
                self._digests.setdefault((of, name), Gathered(digest)).add(digest)
        self._count += 1
        seeds = *self._seeds, entry.seed
        self._seeds = min(seeds), max(seeds)
        self.manifests.append(manifest)

    def draw(self, name: str, size: FigureSize, vocabulary: Sequence[str]) -> None:
        """Write the summary page, if there is anything to show.

        Args:
            name: of the collection.
            size: of the page.
            vocabulary: words of all figures of the command.
        """
        if not self._digests:
            return
        from attn.viz.figures import write
        from attn.viz.words.summary import draw_summary

        heading = (self._title(name), self._subtitle(name))
        figure_file = draw_summary(self._panels(), heading, vocabulary)
        about = {"collection": name, "traces": str(self._count)}
        write(figure_file, self.folder, about, size)
        self.files.append(SUMMARY)

    def _panels(self) -> dict[str, Gathered]:
        """Return the plots by title: those of each prompt, then those of all traces."""
        order = self._prompts
        keys = sorted(self._digests, key=lambda key: (not key[0], order.get(key[0], 0), key[1]))
        several = len(self._prompts) > 1
        panels = {}
        for prompt, name in keys:
            gathered = self._digests[prompt, name]
            of = f" · prompt {order[prompt]}" if several and prompt else ""
            panels[f"{gathered.first.title}{of}"] = gathered
        return panels

    def _title(self, name: str) -> str:
        """Return the prompt of all traces, or if they have several the name of the collection."""
        return (_shorten(next(iter(self._prompts))) if len(self._prompts) == 1 else "") or name

    def _subtitle(self, name: str) -> str:
        first, last = self._seeds
        seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
        if len(self._prompts) == 1:
            return f"{name} · {self._count} traces · {seeds}"
        total = len(self._prompts)
        hidden = f", words of the first {DRAWN}" if total > DRAWN else ""
        listed = [f"{number}: {prompt}" for prompt, number in self._prompts.items()][:DRAWN]
        return " · ".join(
            (f"{total} prompts{hidden}", f"{self._count} traces", seeds, *map(_shorten, listed))
        )

    def _file(self, name: str) -> Path:
        if name not in self.files:
            self.files.append(name)
        return self.folder / name


def label_findings(entry: Entry, findings: Findings) -> Iterator[tuple[str, Columns]]:
    """Yield the rows that a trace adds to joined tables, with the names of these."""
    labels = {"trace": entry.folder, "prompt": _shorten(_prompt(entry)), "seed": entry.seed}
    for name, table in findings.tables:
        yield name, label_table(table, **labels)
    yield TRACES, _row(entry, findings.manifest)


def _prompt(entry: Entry) -> str:
    return as_utf8(" ".join(entry.prompt.split()))


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _row(entry: Entry, manifest: Manifest) -> Table:
    """Return a table row that identifies a trace, and what was cut off its prompt."""
    branch = manifest.branches[0]
    cut = ", ".join(manifest.truncated.get(branch, {}))
    facts = {
        "trace": entry.folder,
        "seed": entry.seed,
        "status": manifest.status,
        "words": len(manifest.words),
        "truncated": cut,
        "prompt": as_utf8(entry.prompt),
    }
    return make_table({name: np.array([value], object) for name, value in facts.items()})
