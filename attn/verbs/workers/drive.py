"""The driver of workers: who makes which batch next, and what a lost worker costs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from attn.errors import CaptureError
from attn.verbs.workers.work import BatchAnswer, BatchMembers

TRIES = 2
"""A batch that so many workers were lost with is given up; it costs only itself."""

LOST = 3
"""Workers in a row that may be lost before they have made anything, in the place of one."""


class Crew(Protocol):
    """Workers, each of which makes one batch at a time."""

    def idle(self) -> Sequence[int]:
        """Return the workers that wait for work; a lost one is replaced by another."""

    def start(self, worker: int, members: BatchMembers) -> None:
        """Let a worker make a batch."""

    def wait(self) -> tuple[int, BatchAnswer | str]:
        """Wait for a worker: its answer, or what is known of its loss.

        Raises:
            CaptureError: no worker is left that could be waited for.
        """

    def retire(self, worker: int) -> None:
        """Give a worker no more work, nor another in its place."""


def drive(crew: Crew, batches: Sequence[BatchMembers]) -> Iterator[BatchAnswer]:
    """Have batches made, and yield what became of each.

    A batch whose worker is lost, or can make nothing more, is given to another one; lost twice, its
    traces have failed. The last worker that can make nothing more ends the run.

    Raises:
        CaptureError: no worker can be had.
    """
    waiting, tries = deque(batches), Counter[int]()
    running: dict[int, BatchMembers] = {}
    while waiting or running:
        for worker in crew.idle():
            if waiting:
                running[worker] = waiting.popleft()
                crew.start(worker, running[worker])
        worker, answer = crew.wait()
        members = running.pop(worker, None)
        if isinstance(answer, BatchAnswer) and answer.ended is None:
            yield answer
            continue
        if isinstance(answer, BatchAnswer):
            crew.retire(worker)
        if members is None:  # lost before it was given anything
            continue
        reason = answer if isinstance(answer, str) else str(answer.ended)
        tries[members[0].index] += 1
        if tries[members[0].index] < TRIES:
            waiting.appendleft(members)
            told = f"a worker was lost, and its batch is made again: {reason}"
            yield BatchAnswer(warnings=((told, Path(members[0].folder).name),))
            continue
        yield BatchAnswer({member.index: reason for member in members if member.is_missing})


def no_workers(reasons: Sequence[str]) -> CaptureError:
    """Return the error that no worker is left, with what became of them."""
    listed = "; ".join(dict.fromkeys(reasons))
    return CaptureError(f"no worker is left: {listed}. What was made stays; --resume goes on")
