"""The process that holds the model: does one order after the other, and dies with the server.

Orders come on stdin and answers go to what was stdout, each a line of JSON; what libraries print
goes to stderr. An order is `{"do": …}` with arguments, an answer `{"event": …}`: `done`, `failed`
or `cancelled` end an order; `loading` says that its model is not loaded yet, `ending` that the one
that runs ends after its step.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from attn.errors import AttnError
from attn.verbs.report import Report
from attn.verbs.workers.process import open_answers

if TYPE_CHECKING:
    from attn.backends.types import Preview
    from attn.schema import Manifest
    from attn.studio.worker.models import HeldModel

Order = dict[str, Any]
ENDS = ("done", "failed", "cancelled")
FILM = "evolution"
"""Analysis of how maps form, which runs only if it is named."""


class Cancelled(KeyboardInterrupt):
    """The order is to end after this step: like Ctrl-C, it leaves a partial trace."""


class Line:
    """Both directions of the line to the server.

    Attributes:
        is_cancelled: set while the order that runs is to end.
    """

    def __init__(self, orders: TextIO, answers: BinaryIO) -> None:
        self.is_cancelled = Event()
        self._orders, self._answers = orders, answers
        self._waiting: SimpleQueue[Order | None] = SimpleQueue()
        self._lock = Lock()
        self._is_working = False
        Thread(target=self._read, daemon=True).start()

    def send(self, event: str, **facts: Any) -> None:
        """Send an answer."""
        with self._lock:
            self._is_working = event not in ENDS
            self._write(event, facts)

    def orders(self) -> Iterator[Order]:
        """Yield orders until the server is gone."""
        while (order := self._waiting.get()) is not None:
            yield order

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` where the order is to end."""
        if self.is_cancelled.is_set():
            raise Cancelled

    def _read(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._cancel()
            else:  # the server sends one order at a time
                self.is_cancelled.clear()
                self._is_working = True
                self._waiting.put(order)
        self.is_cancelled.set()
        self._waiting.put(None)

    def _cancel(self) -> None:
        """Let the order that runs end; one that has ended is not spoken of."""
        with self._lock:
            if self._is_working:
                self.is_cancelled.set()
                self._write("ending", {})

    def _write(self, event: str, facts: Mapping[str, Any]) -> None:
        self._answers.write(json.dumps({"event": event, **facts}).encode() + b"\n")
        self._answers.flush()


class SentReport(Report):
    """Sends what a verb tells to the server; its steps are where an order can end."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def begin(self, path: Path) -> None:
        """Send where the trace is."""
        super().begin(path)
        self._line.raise_if_cancelled()
        self._line.send("begin", path=str(path))

    def note(self, text: str) -> None:
        """Send a fact."""
        self._line.send("note", text=text)

    def show_warning(self, text: str) -> None:
        """Send a warning."""
        self._line.send("warning", text=text)

    def progress(self, done: int, total: int, written: int) -> None:
        """Send how far it is."""
        self._line.send("step", done=done, total=total, written=written)
        self._line.raise_if_cancelled()


class Worker:
    """Does orders, with one model that stays loaded between them."""

    def __init__(self, line: Line) -> None:
        from attn.studio.worker.models import HeldModel

        self._line = line
        self._held: HeldModel = HeldModel(self._show, lambda: line.send("loading"))

    def run(self) -> None:
        """Do orders until the server is gone."""
        acts: Mapping[str, Callable[[Order], Order]] = {
            "describe": self._describe,
            "defaults": self._defaults,
            "switch": self._switch,
            "plan": self._plan,
            "capture": self._capture,
            "analyze": self._analyze,
        }
        for order in self._line.orders():
            try:
                done = acts[order["do"]](order)
            except KeyboardInterrupt:
                self._line.send("cancelled")
            except AttnError as error:
                self._line.send("failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next order is done
                traceback.print_exc()
                self._line.send("failed", error=f"{type(error).__name__}: {error}")
            else:
                self._line.send("done", **done)

    def _describe(self, order: Order) -> Order:
        from attn.studio.worker.families import describe_families

        return {"families": describe_families(order["models"])}

    def _defaults(self, order: Order) -> Order:
        from attn.studio.worker.families import defaults

        return {"defaults": defaults(order["backend"], order["model"])}

    def _switch(self, order: Order) -> Order:
        from attn.studio.worker.families import values_after

        models = order["before"], order["model"]
        return {"values": values_after(order["backend"], *models, order["values"])}

    def _plan(self, order: Order) -> Order:
        from attn.studio.worker.models import plan

        return plan(self._held, order["request"])

    def _capture(self, order: Order) -> Order:
        captured = self._held.capture(order["request"], SentReport(self._line))
        return {"path": str(captured.path)}

    def _analyze(self, order: Order) -> Order:
        from attn.trace.trace import open_trace
        from attn.verbs.analyze.analyze import analyze

        named = analyses_of(open_trace(order["path"]).manifest)
        done = [analyze(order["path"], only=only, report=Report()) for only in named]
        return {"files": [str(path) for each in done for path in each.pictures]}

    def _show(self, preview: Preview) -> None:
        """Send what the model expects of the outcome."""
        first = preview[0]
        if isinstance(first, str):
            self._line.send("text", text=first)
            return
        data = BytesIO()
        first.save(data, "PNG")
        self._line.send("frame", png=b64encode(data.getvalue()).decode())


def analyses_of(manifest: Manifest) -> tuple[str | None, ...]:
    """Return what a trace is analysed by: all that need no name, and a film if it can."""
    from attn.analysis.needs import find_lack
    from attn.analysis.registry import find

    return (None,) if find_lack(find(FILM).needs, manifest) else (None, FILM)


def main() -> None:
    """Work until stdin ends."""
    Worker(Line(sys.stdin, open_answers())).run()
    sys.stderr.flush()
    os._exit(0)  # memory is not given back piece by piece: that takes seconds


if __name__ == "__main__":
    main()
