"""What a verb tells while it works; the command line shows it, a library call stays silent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

SHOWN = 3
"""So many traces that failed are named, more are counted."""


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
