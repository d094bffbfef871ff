"""The driver of workers: who makes which batch next, and what a lost worker costs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from attn.errors import CaptureError
from attn.verbs.workers.work import BatchAnswer, BatchMembers

TRIES = 2
"""So often a trace is made before it has failed."""

LOSSES = 3
"""A batch that so many workers were lost with is given up; it costs only itself."""

LOST = 3
"""Workers in a row that may be lost before they are ready, in the place of one."""

FRUITLESS = 12
"""So many workers lost in a row, without a batch that was made, end the run."""


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

    A batch whose worker is lost, or can make nothing more, is given to another one; that is no
    failure of its traces. A trace that fails is made once more. The last worker that can make
    nothing more ends the run.

    Raises:
        CaptureError: no worker can be had.
    """
    queue = _BatchQueue(batches)
    while queue.is_left:
        for worker in crew.idle():
            if queue.waiting:
                crew.start(worker, queue.hand_out(worker))
        worker, answer = crew.wait()
        members = queue.take_back(worker)
        if isinstance(answer, BatchAnswer) and answer.ended is not None:
            crew.retire(worker)
        if members is None:  # it has loaded the model, or not even that
            continue
        if isinstance(answer, str):
            yield queue.lose(members, answer)
        elif answer.ended is not None:
            yield queue.pass_on(members, answer.ended)
        else:
            yield queue.settle(members, answer)


class _BatchQueue:
    """Batches that wait, those that workers have, and how often each was tried."""

    def __init__(self, batches: Sequence[BatchMembers]) -> None:
        self.waiting = deque(batches)
        self._running: dict[int, BatchMembers] = {}
        self._failures, self._losses = Counter[int](), Counter[int]()
        self._fruitless = 0

    @property
    def is_left(self) -> bool:
        """Whether anything is still to be made."""
        return bool(self.waiting or self._running)

    def hand_out(self, worker: int) -> BatchMembers:
        """Give a worker the next batch."""
        members = self._running[worker] = self.waiting.popleft()
        return members

    def take_back(self, worker: int) -> BatchMembers | None:
        """Return the batch that a worker has."""
        return self._running.pop(worker, None)

    def settle(self, members: BatchMembers, answer: BatchAnswer) -> BatchAnswer:
        """Take an answer; traces that failed for the first time are made once more, at the end."""
        self._fruitless = 0
        failed = {index: error for index, error in answer.errors.items() if error is not None}
        self._failures.update(failed.keys())
        again = {index for index in failed if self._failures[index] < TRIES}
        if not again:
            return answer
        self.waiting.append(
            tuple(replace(member, is_missing=member.index in again) for member in members)
        )
        told = tuple(
            (f"it failed, and is made again: {failed[member.index]}", Path(member.folder).name)
            for member in members
            if member.index in again
        )
        settled = {index: error for index, error in answer.errors.items() if index not in again}
        return BatchAnswer(settled, (*answer.warnings, *told))

    def lose(self, members: BatchMembers, reason: str) -> BatchAnswer:
        """Have a batch made again whose worker is lost: at the end, if it was not the first.

        Raises:
            CaptureError: workers are lost whatever they make.
        """
        self._fruitless += 1
        at = members[0].index
        self._losses[at] += 1
        if self._losses[at] < LOSSES:
            place = self.waiting.appendleft if self._losses[at] == 1 else self.waiting.append
            place(members)
            answer = _made_again(
                members, f"a worker was lost, and its batch is made again: {reason}"
            )
        else:
            told = f"{LOSSES} workers were lost while it was made, the last so: {reason}"
            answer = BatchAnswer({member.index: told for member in members if member.is_missing})
        if self._fruitless >= FRUITLESS:
            raise no_workers([f"{FRUITLESS} were lost in a row, the last so: {reason}"])
        return answer

    def pass_on(self, members: BatchMembers, reason: str) -> BatchAnswer:
        """Give a batch to another worker than that which can make nothing more."""
        self.waiting.appendleft(members)
        return _made_again(members, f"a worker can make nothing more, others go on: {reason}")


def _made_again(members: BatchMembers, told: str) -> BatchAnswer:
    return BatchAnswer(warnings=((told, Path(members[0].folder).name),))


def no_workers(reasons: Sequence[str]) -> CaptureError:
    """Return the error that no worker is left, with what became of them."""
    listed = "; ".join(dict.fromkeys(reasons))
    return CaptureError(f"no worker is left: {listed}. What was made stays; --resume goes on")
