"""What a verb tells while it works; the command line shows it, a library call stays silent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SHOWN = 3
"""So many traces that failed are named, more are counted."""


@dataclass(frozen=True)
class ItemCounts:
    """How far a run of many traces is.

    Attributes:
        done: traces that are complete, with those of earlier runs.
        failed: traces that failed.
        left: the others.
        written: bytes of attention that this run wrote, as planned.
        planned: bytes that it will have written at its end.
        free: bytes of the disk; None where nothing large is written.
    """

    done: int
    failed: int
    left: int
    written: int = 0
    planned: int = 0
    free: int | None = None


class Report:
    """Takes notes, warnings and progress; this one keeps the warnings and shows nothing."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.path: Path | None = None
        self._texts: set[str] = set()

    def begin(self, path: Path) -> None:
        """Take the folder into which something is written from here on; the first one counts."""
        self.path = self.path or path

    def note(self, text: str) -> None:
        """Take a fact that the user should see once."""

    def warn(self, text: str, about: str = "") -> None:
        """Take a warning; each text counts once, with the first thing that it is about."""
        if text not in self._texts:
            self._texts.add(text)
            self.warnings.append(f"{about}: {text}" if about else text)
            self.show_warning(self.warnings[-1])

    def show_warning(self, text: str) -> None:
        """Take a warning that was not there yet."""

    def progress(self, done: int, total: int, written: int) -> None:
        """Take the number of finished steps of the whole job, and the bytes written so far."""

    def items(self, counts: ItemCounts) -> None:
        """Take how many traces are done: at the beginning, and whenever one is."""


def warn_of_failures(failures: Mapping[str, str], total: int) -> None:
    """Warn the caller of a public function, who has no report that would show it.

    Args:
        failures: why traces failed, by their names.
        total: number of all traces.
    """
    if not failures:
        return
    named = [f"{name} ({reason})" for name, reason in list(failures.items())[:SHOWN]]
    more = [f"{len(failures) - SHOWN} more"] if len(failures) > SHOWN else []
    text = f"{len(failures)} of {total} traces failed, see .failures: {'; '.join([*named, *more])}"
    warnings.warn(text, stacklevel=4)
