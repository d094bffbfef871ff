"""Show what a verb tells: on stderr, live on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import typer
from rich import filesize

from attn.cli.errors import REPORT
from attn.cli.terminal import say
from attn.verbs.report import Report

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 5.0
"""Without a terminal, progress is one line at most this often."""


class ShownReport(Report):
    """Prints notes and warnings at once; shows steps, seconds per step and bytes."""

    def __init__(self, context: typer.Context) -> None:
        super().__init__()
        context.meta[REPORT] = self  # so that errors can say what was written, and warned of
        self._first = 0
        self._done = 0
        self._began = 0.0
        self._last = 0.0
        self._bar: tuple[Progress, TaskID] | None = None

    def note(self, text: str) -> None:
        """Print a fact."""
        say(text, err=True)

    def show_warning(self, text: str) -> None:
        """Print a warning."""
        say(f"Warning: {text}", err=True)

    def progress(self, done: int, total: int, written: int) -> None:
        """Show how far the job is."""
        now = time.monotonic()
        if done <= self._done or not self._done:  # the next job, such as another variant
            self._first, self._began = done, now
        self._done = done
        seen = done - self._first
        pace = f"{(now - self._began) / seen:.2f} s/step" if seen else "…"
        text = f"step {done}/{total} · {pace} · {filesize.decimal(written)}"
        if sys.stderr.isatty():
            self._show(text, done, total)
        elif done in (1, total) or now - self._last >= LINE_SECONDS:
            self._last = now
            say(text, err=True)

    def close(self) -> None:
        """End the live line."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None

    def _show(self, text: str, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            bar = Progress(
                BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True)
            )
            self._bar = (bar, bar.add_task(text, total=total))
            bar.start()
        progress, task = self._bar
        progress.update(task, completed=done, total=total, description=text)
