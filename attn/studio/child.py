"""The server's end of the process that holds the model: started when needed, after a crash too."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition
from typing import Any, NamedTuple

from rich import filesize

from attn.errors import CaptureError

Facts = dict[str, Any]
COMMAND = (sys.executable, "-P", "-m", "attn.studio.worker.work")
"""Without the working folder, which may be of others, among the places of modules."""
STOP_SECONDS = 10.0
LONG = ("capture", "analyze")
"""Orders that take as long as a run; of all others the end can be waited for."""
TEXTS = ("error", "text", "warnings")
"""What is told to people, of the facts that come."""


class Answer(NamedTuple):
    """How an order ended: `done`, `failed`, `cancelled` or `gone`, with what there is to say."""

    event: str
    facts: Facts

    def required(self) -> Facts:
        """Return what an order answered.

        Raises:
            CaptureError: it was not done.
        """
        if self.event != "done":
            raise CaptureError(str(self.facts.get("error", "cancelled")))
        return self.facts


def ignore(facts: Facts) -> None:
    """Take what an order tells before its end, and do nothing."""


class Child:
    """A process that does one order at a time."""

    def __init__(self, reword: Callable[[str], str] = str) -> None:
        """Start nothing yet.

        Args:
            reword: changes what is told to people.
        """
        self._reword = reword
        self._process: subprocess.Popen[str] | None = None
        self._turn = Condition()
        self._doing: str | None = None
        self._is_stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process that runs, if one does."""
        return None if self._process is None else self._process.pid

    def ask(self, order: Facts, tell: Callable[[Facts], None] = ignore) -> Answer:
        """Let an order be done, once those before it are.

        Args:
            order: see `attn.studio.worker.work`.
            tell: takes what it tells before its end.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._doing is None)
            self._doing = order["do"]
        return self._do(order, tell)

    def ask_soon(self, order: Facts) -> Answer | None:
        """Let an order be done; None where a run, or an analysis, would have to end first."""
        with self._turn:
            self._turn.wait_for(lambda: self._doing is None or self._doing in LONG)
            if self._doing is not None:
                return None
            self._doing = order["do"]
        return self._do(order, ignore)

    def cancel(self) -> None:
        """Let the order that runs end after its step."""
        if self._process is not None:
            with suppress(OSError):  # it is gone
                _send(self._process, {"do": "cancel"})

    def stop(self) -> None:
        """End the process after the step that runs, for good."""
        self._is_stopped = True
        if self._process is None:
            return
        with suppress(OSError):
            _input(self._process).close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._turn:
            self._turn.wait_for(lambda: self._doing is None)  # whoever reads is at the end
            _close(self._process)

    def _do(self, order: Facts, tell: Callable[[Facts], None]) -> Answer:
        """Let an order be done whose turn it is, and let the next one have its turn."""
        try:
            return self._ask(order, tell)
        finally:
            with self._turn:
                self._doing = None
                self._turn.notify_all()

    def _ask(self, order: Facts, tell: Callable[[Facts], None]) -> Answer:
        if self._is_stopped:
            return Answer("gone", {"error": "the server has ended"})
        process = self._running()
        with suppress(OSError):  # it is gone, which is seen below
            _send(process, order)
        for line in process.stdout or ():
            facts = self._told(json.loads(line))
            event = facts.pop("event")
            if event in ("done", "failed", "cancelled"):
                return Answer(event, facts)
            tell({"event": event, **facts})
        code = process.wait()
        _close(process)
        return Answer("gone", {"error": _epitaph(code)})

    def _told(self, facts: Facts) -> Facts:
        reword = self._reword
        texts = {
            key: reword(value) if isinstance(value, str) else list(map(reword, value))
            for key, value in facts.items()
            if key in TEXTS
        }
        return facts | texts

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
            )
        return self._process


def _send(process: subprocess.Popen[str], order: Facts) -> None:
    stream = _input(process)
    stream.write(json.dumps(order) + "\n")
    stream.flush()


def _close(process: subprocess.Popen[str]) -> None:
    """Close both ends of the line to a process that has ended."""
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # an order was on its way
            if stream is not None:
                stream.close()


def _input(process: subprocess.Popen[str]) -> Any:
    return process.stdin


def _epitaph(code: int) -> str:
    """Describe the end of a process: what is known of it, and what may be."""
    reason = f"with exit code {code}"
    if code < 0:
        reason = f"by signal {-code}"
        with suppress(ValueError):  # a signal without a name
            reason = f"{reason} ({signal.Signals(-code).name})"
    hint = ""
    if code == -signal.SIGKILL:
        free = _free_memory()
        now = "" if free is None else f"; {filesize.decimal(free)} of memory are free now"
        hint = f", which somebody sent, or the system as memory ran out{now}"
    return (
        f"the process that held the model was ended {reason}{hint}. Its finished steps stay; the "
        "next run starts a new process."
    )


def _free_memory() -> int | None:
    """Return the bytes of memory that are free, where the system tells."""
    with suppress(OSError):
        told = Path("/proc/meminfo").read_text("ascii")
        available = re.search(r"^MemAvailable: +(\d+) kB$", told, re.MULTILINE)
        return int(available[1]) * 1024 if available else None
    return None
