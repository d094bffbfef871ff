"""What a worker makes of a batch, whoever had it before."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import attn.verbs.workers.maker as module
from attn.backends.types import Placement
from attn.engine.plan import Keep
from attn.schema import Request
from attn.verbs.workers.maker import Maker, open_maker
from attn.verbs.workers.work import BatchAnswer, BatchMember, RunRecipe, WorkerRecipe
from tests.helpers.stale import stale
from tests.helpers.toy_runs import Failing, contents

RECIPE = RunRecipe("fake", {}, "demo", Placement("cpu"), Keep())
REQUEST = Request("", steps=2, width=24, height=16)


@pytest.fixture
def maker(monkeypatch):
    """A worker of the fake family."""
    monkeypatch.setattr(module, "find", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(module, "guarded", lambda registered: Failing())
    return Maker(RECIPE)


def batch(folder, *prompts):
    """Return a batch whose members are all missing."""
    return tuple(
        BatchMember(at, str(folder / f"{at:04d}"), replace(REQUEST, prompt=prompt, seed=at), True)
        for at, prompt in enumerate(prompts)
    )


def test_made_again(maker, tmp_path):
    """A batch whose worker was lost when all was written, but not told, is no failure."""
    members = batch(tmp_path, "a red cat", "a dog")
    assert maker.make(members).errors == {0: None, 1: None}
    before = contents(tmp_path)
    assert maker.make(members) == BatchAnswer({0: None, 1: None})
    assert contents(tmp_path) == before


def test_made_in_part(maker, tmp_path):
    """Of a batch of which one trace was written the other one is made, with the same bytes."""
    members = batch(tmp_path, "a red cat", "a dog")
    maker.make(members)
    before = contents(tmp_path)
    (tmp_path / "0001" / "trace.json").unlink()
    assert maker.make(members).errors == {0: None, 1: None}
    assert contents(tmp_path) == before


def test_lost_folder(maker, tmp_path):
    """A worker whose network file system is gone makes nothing more, so that others go on."""
    members = batch(tmp_path, "a red cat")
    with stale(tmp_path):
        answer = maker.make(members)
    assert "stale handle" in answer.ended
    assert maker.make(members) == BatchAnswer({0: None})


def test_no_plugin():
    """A worker without the package of a family says so, so that others go on."""
    answer = open_maker(WorkerRecipe(replace(RECIPE, backend="elsewhere")))
    assert answer.ended.startswith("no backend 'elsewhere'")


def test_failed(maker, tmp_path, monkeypatch):
    """What a family raises outside of its sampler is said of the traces, and ends no worker."""
    monkeypatch.setattr(module, "plan_job", lambda *arguments: 1 / 0)
    answer = maker.make(batch(tmp_path, "a red cat"))
    assert answer.ended is None
    assert "ZeroDivisionError" in answer.errors[0]
