"""What the traces of a collection have in common: one table of all their rows, one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.digest import Digest, Gathered
from attn.analysis.result import Result
from attn.analysis.tables import Columns, Table, append_table, label_table, make_table
from attn.files.disk import as_utf8

if TYPE_CHECKING:
    from attn.schema import Manifest
    from attn.verbs.capture.collection import Entry
    from attn.viz.sizes import FigureSize

TRACES = "traces.csv"
SUMMARY = "summary.png"
ON_PAGE = (
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
LONGEST = 80
"""Letters of a prompt in a row of a joined table; `traces.csv` has the whole."""


@dataclass(frozen=True)
class Findings:
    """What is kept of the analyses of one trace: rows to join, what its page shows, and digests.

    Attributes:
        manifest: of the trace.
        tables: to join, with their names.
        shown: of its page, by path.
        digests: by name.
    """

    manifest: Manifest
    tables: list[tuple[str, Table]]
    shown: dict[str, Table] = field(default_factory=dict)
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


class Joined:
    """Gathers the results of traces, one after the other, in little memory.

    Rows go to disk at once, into `<table>.csv` with the columns trace, prompt and seed before the
    table's own; a table that there is of several segments becomes one. Of every trace only what
    the summary page shows stays in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[str] = []
        self._digests: dict[str, Gathered] = {}
        self._count = 0
        self._prompts: set[str] = set()
        self._seeds: set[int] = set()

    def add(self, entry: Entry, findings: Findings) -> None:
        """Take the results of one trace."""
        prompt = _shorten(entry.prompt)
        labels = {"trace": entry.folder, "prompt": prompt, "seed": entry.seed}
        for name, table in findings.tables:
            self._append(label_table(table, **labels), name)
        for name, digest in findings.digests.items():
            self._digests.setdefault(name, Gathered(digest)).add(digest)
        self._append(_row(entry, findings.manifest), TRACES)
        self._count += 1
        self._prompts.add(prompt)
        self._seeds.add(entry.seed)

    def draw(self, name: str, size: FigureSize) -> None:
        """Write the summary page, if there is anything to show.

        Args:
            name: of the collection.
            size: of the page.
        """
        if not self._digests:
            return
        from attn.viz.figures import write
        from attn.viz.words.summary import draw_summary

        heading = (self._title(name), self._subtitle(name))
        figure_file = draw_summary(self._digests, heading)
        about = {"collection": name, "traces": str(self._count)}
        write(figure_file, self.folder, about, size)
        self.files.append(SUMMARY)

    def _title(self, name: str) -> str:
        """Return the prompt of all traces, or if they have several the name of the collection."""
        return (next(iter(self._prompts)) if len(self._prompts) == 1 else "") or name

    def _subtitle(self, name: str) -> str:
        first, last = min(self._seeds), max(self._seeds)
        seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
        what = name if len(self._prompts) == 1 else f"{len(self._prompts)} prompts"
        return f"{what} · {self._count} traces · {seeds}"

    def _append(self, table: Columns, name: str) -> None:
        append_table(table, self.folder / name)
        if name not in self.files:
            self.files.append(name)


def _shorten(prompt: str) -> str:
    text = as_utf8(" ".join(prompt.split()))
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
