"""The driver of workers: every batch is made once, whatever becomes of who makes it."""

from dataclasses import replace

import pytest

from attn.errors import CaptureError
from attn.schema import Request
from attn.verbs.workers.drive import drive, no_workers
from attn.verbs.workers.work import BatchAnswer, BatchMember

BATCHES = [
    (BatchMember(at, f"/run/{at:04d}", Request("a cat", seed=at), is_missing=True),)
    for at in range(5)
]
ENDED = BatchAnswer(ended="no space left")


class Crew:
    """Workers that answer at once, as a script says: by batch, one answer for each time."""

    def __init__(self, count, script):
        self._idle, self._work, self._script = list(range(count)), [], script
        self.made, self.given = [], []

    def idle(self):
        return list(self._idle)

    def start(self, worker, members):
        self._idle.remove(worker)
        self._work.append((worker, members[0].index))
        self.given.append(members)

    def wait(self):
        if not self._work:
            raise no_workers(["no space left"])
        worker, index = self._work.pop()
        answers = self._script.get(index)
        answer = answers.pop(0) if answers else BatchAnswer({index: None})
        self.made += [index] if answer == BatchAnswer({index: None}) else []
        self._idle.append(worker)
        return worker, answer

    def retire(self, worker):
        self._idle.remove(worker)


def outcomes(crew):
    """Return what becomes of each trace."""
    errors = {}
    for answer in drive(crew, BATCHES):
        errors |= answer.errors
    return errors


@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_made(count):
    """Every batch is made once, by however many workers."""
    crew = Crew(count, {})
    assert outcomes(crew) == dict.fromkeys(range(5))
    assert sorted(crew.made) == list(range(5))


@pytest.mark.parametrize("lost", ["signal 9", ENDED], ids=["killed", "full"])
def test_lost_once(lost):
    """A batch whose worker is lost is made by another."""
    crew = Crew(3, {3: [lost, lost]})
    assert outcomes(crew) == dict.fromkeys(range(5))
    assert sorted(crew.made) == list(range(5))


def test_always_lost():
    """A batch with which three workers were lost costs itself, and no other."""
    crew = Crew(2, {1: ["signal 9", "signal 9", "signal 11"]})
    told = "3 workers were lost while it was made, the last so: signal 11"
    assert outcomes(crew) == dict.fromkeys(range(5)) | {1: told}


def test_failed_once():
    """A trace that failed is made once more, after the others."""
    crew = Crew(2, {0: [BatchAnswer({0: "NaN"})]})
    assert outcomes(crew) == dict.fromkeys(range(5))
    assert crew.made[-1] == 0


def test_failed_twice():
    """A trace that failed twice has failed, for its own reason, whoever was lost in between."""
    crew = Crew(2, {4: [BatchAnswer({4: "NaN"}), "signal 9", BatchAnswer({4: "inf"})]})
    assert outcomes(crew) == dict.fromkeys(range(5)) | {4: "inf"}


def test_failed_in_part():
    """Of a batch whose traces failed in part only those are made again."""
    members = tuple(replace(BATCHES[at][0], index=at) for at in range(2))
    crew = Crew(1, {0: [BatchAnswer({0: None, 1: "NaN"}), BatchAnswer({1: None})]})
    answers = list(drive(crew, [members]))
    assert [answer.errors for answer in answers] == [{0: None}, {1: None}]
    assert [member.is_missing for member in crew.given[-1]] == [False, True]


def test_no_worker_left():
    """Where no worker can make anything more the run ends, with what became of them."""
    crew = Crew(2, {at: [ENDED] * 2 for at in range(5)})
    with pytest.raises(CaptureError, match="no worker is left: no space left"):
        outcomes(crew)


def test_all_lost():
    """Where workers are lost whatever they make the run ends, instead of trying all."""
    crew = Crew(2, {at: ["signal 9"] * 3 for at in range(5)})
    with pytest.raises(CaptureError, match="12 were lost in a row, the last so: signal 9"):
        outcomes(crew)
