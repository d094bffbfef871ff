"""How far a command is: as text for people, and as lines of JSON for programs."""

from __future__ import annotations

import json
import time
from threading import Event, Thread
from typing import Any

from rich import filesize

from attn.cli.terminal import say
from attn.verbs.report import ItemCounts

SECONDS = 1.0
"""Between two lines of JSON."""


class RunClock:
    """Counts of a run, and when it began."""

    def __init__(self) -> None:
        self.counts: ItemCounts | None = None
        self.steps = (0, 0)
        self._began = 0.0
        self._before = 0

    def take(self, counts: ItemCounts, now: float) -> None:
        """Take how far the run is; with fewer traces than before, another run begins."""
        ended = counts.done + counts.failed
        if self.counts is None or ended < self.counts.done + self.counts.failed:
            self._began, self._before = now, ended
        self.counts = counts

    def rate(self, now: float) -> float:
        """Return the traces of a second, since the run began."""
        if self.counts is None or now <= self._began:
            return 0.0
        return (self.counts.done + self.counts.failed - self._before) / (now - self._began)

    def seconds_left(self, now: float) -> float | None:
        """Return the time that the rest takes at this rate, or None as long as there is none."""
        rate = self.rate(now)
        return self.counts.left / rate if self.counts and rate else None

    def text(self, now: float) -> str:
        """Return a line for people."""
        counts, left = self.counts, self.seconds_left(now)
        if counts is None:
            return ""
        parts = [f"traces: {counts.done} done, {counts.failed} failed, {counts.left} left"]
        if left is not None:
            parts += [f"{60 * self.rate(now):.3g}/min", f"{_duration(left)} left"]
        if counts.free is not None:
            bytes_of = f"{filesize.decimal(counts.written)} of {filesize.decimal(counts.planned)}"
            parts += [bytes_of, f"{filesize.decimal(counts.free)} free"]
        return " · ".join(parts)

    def facts(self, now: float) -> dict[str, Any]:
        """Return the same for programs; what is left is None until that is known."""
        counts = self.counts or ItemCounts(0, 0, 0)
        left = self.seconds_left(now)
        return {
            "done": counts.done,
            "failed": counts.failed,
            "left": None if self.counts is None else counts.left,
            "per_second": round(self.rate(now), 6),
            "seconds_left": None if left is None else round(left, 1),
            "written": counts.written,
            "planned": counts.planned,
            "free": counts.free,
            "step": self.steps[0],
            "steps": self.steps[1],
        }


class JsonLines:
    """Writes a line of JSON each second, on stderr, and a last one at the end."""

    def __init__(self, clock: RunClock) -> None:
        self._clock, self._ended = clock, Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write the last line."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._write()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            self._write()

    def _write(self) -> None:
        say(json.dumps({"progress": self._clock.facts(time.monotonic())}), err=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"
