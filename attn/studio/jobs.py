"""Runs, one at a time: those that wait, how far the one is, and what became of the others."""

from __future__ import annotations

import secrets
import time
import traceback
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from attn.errors import CaptureError, UsageError
from attn.studio.child import Answer, Child
from attn.verbs.capture.folders import choose_folder

MOST_WAITING = 16
LOOK_SECONDS = 1.0
"""So often at least is a run looked at that is followed."""
ALONE_SECONDS = 5.0
"""After so long nobody looks at a run any more."""
LEFT_SECONDS = 60.0
"""After so long one that waits is taken out: a page that is loaded again comes sooner."""
LEFT = f"It was taken out of the queue: its page was closed for {LEFT_SECONDS:.0f} s."
OVER = ("complete", "cancelled", "failed")


@dataclass
class StudioRun:
    """A run.

    Attributes:
        id: its number.
        key: by which its page names it, that nobody else knows.
        request: arguments of `attn.capture`.
        is_analyzed: whether it is analysed when it is done.
        variant: what sets it apart from an earlier run, in the name of its folder.
        earlier: the run that it is compared with when it is done.
        status: `waiting`, `beginning`, `loading`, `running`, `analyzing`, or one of `OVER`.
        folder: of its trace, once it has begun.
        done, total: steps.
        written: bytes.
        seconds: from the first step's end to the last one's.
        error: why it failed.
        remarks: notes and warnings.
        frame: what the model expects of the picture after the last step, as PNG.
        frames: how many there were.
        text: what is written so far, of a model that writes one.
        files: what the analysis drew.
        is_cancelled: whether somebody wants it to end.
        is_ending: whether the worker knows that, and ends it after its step.
        seen: when a page last looked at it, on the monotonic clock; None is never.
    """

    id: int
    request: dict[str, Any]
    is_analyzed: bool = False
    variant: str = ""
    earlier: StudioRun | None = None
    status: str = "waiting"
    folder: Path | None = None
    done: int = 0
    total: int = 0
    written: int = 0
    seconds: float = 0.0
    error: str = ""
    remarks: list[str] = field(default_factory=list)
    frame: bytes = b""
    frames: int = 0
    text: str = ""
    files: list[Path] = field(default_factory=list)
    is_cancelled: bool = False
    is_ending: bool = False
    seen: float | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    _began: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in OVER

    @property
    def pace(self) -> float | None:
        """Seconds a step, as far as is known."""
        return self.seconds / (self.done - 1) if self.done > 1 else None

    def is_left(self, seconds: float) -> bool:
        """Whether the pages that showed it were closed so long ago."""
        return self.seen is not None and time.monotonic() - self.seen > seconds

    def note(self, facts: dict[str, Any]) -> None:
        """Take what the worker tells."""
        match facts["event"]:
            case "loading":
                self.status = "loading"
            case "begin":
                self.status = "beginning"
            case "step":
                now = time.monotonic()
                self._began = self._began or now
                self.done, self.total = facts["done"], facts["total"]
                self.written, self.seconds = facts["written"], now - self._began
                self.status = "running"
            case "frame":
                self.frame, self.frames = b64decode(facts["png"]), self.frames + 1
            case "text":
                self.text = facts["text"]
            case "ending":
                self.is_ending = True
            case "note" | "warning":
                self.remarks.append(facts["text"])


class RunQueue:
    """All runs of a server, done by one child process in a thread."""

    def __init__(self, child: Child, out: Path, finished: Callable[[StudioRun], None]) -> None:
        """Wait for runs.

        Args:
            child: does them.
            out: folder of the runs.
            finished: told of each run whose trace is there, in the thread.
        """
        self._child, self._out, self._finished = child, out, finished
        self._jobs: list[StudioRun] = []
        self._waiting: deque[StudioRun] = deque()
        self._running: StudioRun | None = None
        self._changed = Condition()
        self._is_closed = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def job(self, number: int) -> StudioRun | None:
        """Return a run by its number."""
        return self._jobs[number] if 0 <= number < len(self._jobs) else None

    def find(self, key: str | None) -> StudioRun | None:
        """Return a run by its key."""
        return next((job for job in self._jobs if job.key == key), None)

    def alone(self) -> StudioRun | None:
        """Return the run that goes on though its page was closed, if one does."""
        job = self._running
        return job if job is not None and job.is_left(ALONE_SECONDS) else None

    def submit(
        self,
        request: dict[str, Any],
        *,
        is_analyzed: bool,
        variant: str = "",
        earlier: StudioRun | None = None,
    ) -> StudioRun:
        """Queue a run; see `StudioRun`.

        Raises:
            UsageError: too many wait already.
        """
        with self._changed:
            self._drop_left()
            if len(self._waiting) >= MOST_WAITING:
                raise UsageError(f"{MOST_WAITING} runs wait already: wait for one of them to end")
            job = StudioRun(len(self._jobs), request, is_analyzed, variant, earlier)
            self._jobs.append(job)
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def cancel(self, job: StudioRun) -> None:
        """Take a run that waits out of the queue, or end it after its step."""
        with self._changed:
            job.is_cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.status = "cancelled"
                self._changed.notify_all()
            elif not job.is_over:
                self._child.cancel()

    def before(self, job: StudioRun) -> int:
        """Return how many runs come before one that waits."""
        with self._changed:
            self._drop_left()
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def follow(self, job: StudioRun) -> Iterator[StudioRun]:
        """Yield a run whenever something happened to it, and at its end: its page looks at it."""
        while not job.is_over:
            job.seen = time.monotonic()
            yield job
            with self._changed:
                if not job.is_over:
                    self._changed.wait(LOOK_SECONDS)
        yield job

    def analyze(self, job: StudioRun) -> None:
        """Analyse the trace of a run.

        Raises:
            CaptureError: it failed.
        """

        def tell(facts: dict[str, Any]) -> None:
            with self._changed:
                job.note(facts)

        answer = self._child.ask({"do": "analyze", "path": str(job.folder)}, tell)
        job.files = [Path(name) for name in answer.required()["files"]]

    def close(self) -> None:
        """End the run, those that wait, and the child."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._child.stop()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                self._drop_left()
                if not self._waiting:
                    continue
                job = self._running = self._waiting.popleft()
                job.status = "beginning"
                self._changed.notify_all()
            try:
                answer = self._run(job)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next run is done
                traceback.print_exc()
                answer = Answer("failed", {"error": f"{type(error).__name__}: {error}"})
            with self._changed:
                job.error = str(answer.facts.get("error", ""))
                job.status = {"done": "complete", "cancelled": "cancelled"}.get(
                    answer.event, "failed"
                )
                self._running = None
                self._changed.notify_all()

    def _drop_left(self) -> None:
        """Take those out of the queue whose pages were closed."""
        for job in [job for job in self._waiting if job.is_left(LEFT_SECONDS)]:
            self._waiting.remove(job)
            job.status = "cancelled"
            job.remarks.append(LEFT)

    def _run(self, job: StudioRun) -> Answer:
        request = job.request
        told = f"{job.variant} {request['prompt']}"
        folder = choose_folder(None, request["backend"], told, self._out)
        job.folder = folder

        def tell(facts: dict[str, Any]) -> None:
            with self._changed:
                job.note(facts)
                self._changed.notify_all()
                if job.is_cancelled and facts["event"] == "begin":
                    self._child.cancel()  # it was meant while the order was on its way

        answer = self._child.ask({"do": "capture", "request": request | {"out": str(folder)}}, tell)
        if folder.is_dir():
            self._finished(job)
        if answer.event == "done" and job.is_analyzed and not job.is_cancelled:
            with self._changed:
                job.status = "analyzing"
                self._changed.notify_all()
            try:
                self.analyze(job)
            except CaptureError as error:  # the trace is there
                job.remarks.append(f"The analysis failed: {error}")
        return answer
