"""What is planned once of a run, and what only whoever makes it plans."""

from collections import Counter
from pathlib import Path

import pytest

from attn.backends.testing import FakeBackend
from attn.engine.plan import Keep
from attn.errors import RequestError
from attn.schema import Request
from attn.verbs.capture.jobs import JobPart, WantedRun, plan_job
from attn.verbs.report import Report

PROMPTS = ["a bad idea", "a red cat", "two dogs, on a wooden-chair", "a dog"]
SEEDS = range(3, 8)
WISHES = [Request(prompt, seed=seed) for prompt in PROMPTS for seed in SEEDS]


@pytest.fixture
def session(monkeypatch):
    """A session that refuses a prompt, and counts what it completes, by prompt."""
    opened = FakeBackend().open("demo", FakeBackend.Options())
    complete, opened.asked = opened.complete, Counter()

    def count(request):
        opened.asked[request.prompt] += 1
        if "bad" in request.prompt:
            raise RequestError("no ideas")
        return complete(request)

    monkeypatch.setattr(opened, "complete", count)
    return opened


def plan(session, indices=None, wishes=WISHES):
    part = None if indices is None else JobPart(frozenset(indices), "index.1-of-2.jsonl")
    return plan_job("fake", session, WantedRun(wishes, Keep(), Path("run"), 1, part), Report())


def test_seeds_are_planned_once(session):
    """Traces that differ in their seeds share a plan, and each has its own seed."""
    job = plan(session)
    assert session.asked == dict.fromkeys(PROMPTS, 1)
    assert [item.request.seed for item in job.items] == [*SEEDS] * 3
    assert len({id(item.plan) for item in job.items}) == 3
    alone = plan(session, wishes=[WISHES[7]])
    assert (job.items[2].request, job.items[2].plan) == (
        alone.items[0].request,
        alone.items[0].plan,
    )


def test_a_part_plans_its_own(session):
    """A part of a run has the items that the whole run has for it; others are asked for nothing."""
    job = plan(session, [16, 18])
    assert session.asked == {"a dog": 1, "a bad idea": 1, "a red cat": 1}  # two say what all share
    whole = plan(session)
    assert job.items == tuple(item for item in whole.items if item.index in (16, 18))
    assert job.run == whole.run
    assert {entry.status for entry in job.entries} == {"pending"}


def test_what_is_refused(session):
    """A part in which all is refused says so of its own; a whole run of such is an error."""
    job = plan(session, [1, 2])
    assert (job.items, list(job.indices)) == ((), [1, 2])
    assert [entry.folder for entry in job.entries if entry.status == "failed"] == ["0001", "0002"]
    with pytest.raises(RequestError, match="no ideas"):
        plan(session, wishes=WISHES[:3])
