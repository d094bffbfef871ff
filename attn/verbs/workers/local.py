"""Workers that are processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait as wait_readable
from types import TracebackType

from attn.verbs.workers.drive import LOST, no_workers
from attn.verbs.workers.work import BatchAnswer, BatchMembers, WorkerRecipe, decode, encode

COMMAND = (sys.executable, "-P", "-m", "attn.verbs.workers.process")
"""Without the working folder, which may be of others, among the places of modules."""
GRACE_SECONDS = 5


@dataclass
class _Process:
    """A worker, and how it stands: loading, idle or making a batch."""

    child: subprocess.Popen[bytes]
    is_idle: bool = False
    is_ready: bool = False
    lost: int = 0


class LocalCrew:
    """Processes that have the model loaded, each on a device of its own where several are named."""

    def __init__(self, recipe: WorkerRecipe, count: int, devices: Sequence[str]) -> None:
        """Start workers.

        Args:
            recipe: of the run.
            count: of workers.
            devices: worker by worker, from the first again where there are fewer.
        """
        self._recipe, self._devices = recipe, devices
        self._reasons: list[str] = []
        self._workers: dict[int, _Process] = {at: _Process(self._begin(at)) for at in range(count)}

    def idle(self) -> list[int]:
        """Return the workers that wait for work."""
        return [number for number, worker in self._workers.items() if worker.is_idle]

    def start(self, worker: int, members: BatchMembers) -> None:
        """Let a worker make a batch; that it is gone is noticed by `wait`."""
        process = self._workers[worker]
        process.is_idle = False
        _send(process.child, encode(members))

    def wait(self) -> tuple[int, BatchAnswer | str]:
        """Wait for a worker that has made its batch, or is lost; a lost one is replaced."""
        while self._workers:
            streams = {worker.child.stdout: at for at, worker in self._workers.items()}
            ready = streams[wait_readable(list(streams))[0]]  # type: ignore[index, arg-type]
            worker = self._workers[ready]
            line = worker.child.stdout.readline()  # type: ignore[union-attr]
            if not line.endswith(b"\n"):
                return ready, self._replace(ready)
            answer: BatchAnswer = decode(line, BatchAnswer)
            if answer.ended is not None:
                self._reasons.append(answer.ended)
                return ready, answer
            worker.is_idle = worker.is_ready = True
            return ready, answer
        raise no_workers(self._reasons)

    def retire(self, worker: int) -> None:
        """End a worker for good."""
        _end(self._workers.pop(worker).child)

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            _end(worker.child)

    def _begin(self, number: int) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _send(child, encode(self._placed(number)))
        return child

    def _placed(self, number: int) -> WorkerRecipe:
        """Return what a worker is for, on its device."""
        run = self._recipe.run
        if run is None or not self._devices:
            return self._recipe
        device = self._devices[number % len(self._devices)]
        return WorkerRecipe(replace(run, placement=replace(run.placement, device=device)))

    def _replace(self, number: int) -> str:
        """Put another worker in the place of one that is lost; return what is known of the loss."""
        gone = self._workers[number]
        _end(gone.child)
        reason = f"worker {number} ended with {_status(gone.child.returncode)}"
        lost = 0 if gone.is_ready else gone.lost + 1
        if lost < LOST:
            self._workers[number] = _Process(self._begin(number), lost=lost)
        else:
            del self._workers[number]
            self._reasons.append(reason)
        return reason


def _send(child: subprocess.Popen[bytes], line: bytes) -> None:
    with suppress(BrokenPipeError):  # it is gone, which `wait` notices
        child.stdin.write(line + b"\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let a process end: it does when nothing more comes, or is ended."""
    with suppress(BrokenPipeError):
        child.stdin.close()  # type: ignore[union-attr]
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()  # type: ignore[union-attr]


def _status(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
