"""Network file systems: handles go stale, and two runs meet where there are no locks."""

from contextlib import ExitStack

import pytest
import torch

from attn.errors import TraceError
from attn.files import locks
from attn.trace.writer import TraceWriter
from attn.verbs.capture.collection import read_index
from attn.verbs.report import Report
from tests.helpers.stale import stale
from tests.helpers.toy_runs import capture_fake, check_left, contents, use_fake

PROMPTS = ["a red cat", "a dog", "a tree"]
LOST = "its network file system lost it (stale handle); mount that again"


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Capture with the fake family."""
    use_fake(monkeypatch.setattr)


@pytest.fixture
def out(tmp_path):
    """Where a run goes."""
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an unbroken run leaves."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        use_fake(patch.setattr)
        run(folder)
    return contents(folder)


def run(out):
    """Capture a collection, or go on with it."""
    return capture_fake(out, PROMPTS, resume=True, report=Report())


def after(shards, action, patch):
    """Let something happen once when so many shards are written, and nothing is being written."""
    put, count = TraceWriter.put, iter(range(1, 100))

    def put_and_wait(self, step, tensors):
        put(self, step, tensors)
        self._settle()
        if next(count) == shards:
            with torch.inference_mode(False):  # as in another process: a model that is opened in
                action()  # this mode may have other last bits

    patch.setattr(TraceWriter, "put", put_and_wait)


def test_stale_in_mid_run(out, whole, monkeypatch):
    """The run ends and says where; what is whole stays, and the same command goes on."""
    with ExitStack() as network:
        after(4, lambda: network.enter_context(stale(out / "0001")), monkeypatch)
        with pytest.raises(TraceError) as error:
            run(out)
    assert f"could not read {out / '0001/attention/shards.jsonl'}: {LOST}." in str(error.value)
    assert "1 of 3 traces in" in str(error.value)
    assert check_left(out, whole) == ["complete", "partial", "pending"]
    run(out)
    assert contents(out) == whole


@pytest.mark.parametrize("name", ["0001", "0001/outputs/image.png", "index.json"])
def test_stale_when_resumed(out, whole, name):
    """What cannot be reached is not taken for damaged: nothing is made again."""
    run(out)
    with stale(out / name), pytest.raises(TraceError) as error:
        run(out)
    assert LOST in str(error.value)
    assert str(out / name) in str(error.value)
    assert contents(out) == whole


@pytest.mark.parametrize("shards", range(1, 10))
def test_two_runs_without_locks(out, whole, shards, monkeypatch):
    """The second run makes all of it; the first notices, and no index lists what is not there."""
    monkeypatch.setattr(locks, "_lock", lambda handle, wait: None)
    after(shards, lambda: run(out), monkeypatch)
    if shards < 9:  # else the first one made all of it too
        with pytest.raises(TraceError, match=r"another process|already holds"):
            run(out)
    else:
        run(out)
    assert check_left(out, whole) == ["complete"] * 3
    assert [entry.status for entry in read_index(out)] == ["complete"] * 3
    run(out)
    assert contents(out) == whole
