"""How far a run is: for people, for programs, and a disk that would be full soon."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.cli.progress import RunClock
from attn.cli.report import ShownReport
from attn.errors import TraceError
from attn.verbs.capture import folders
from attn.verbs.report import ItemCounts, Report
from tests.helpers.toy_runs import capture_fake, contents, use_fake

COUNTS = ItemCounts(7, 1, 12, 3_000_000, 8_000_000, 20_000_000_000)


@pytest.fixture
def clock():
    """A run that began with three traces done, and made five in ten seconds."""
    clock = RunClock()
    clock.take(ItemCounts(3, 0, 17), 100.0)
    clock.take(COUNTS, 110.0)
    return clock


def test_text(clock):
    """People read what is done, how fast, and how long and how large the rest is."""
    told = (
        "traces: 7 done, 1 failed, 12 left · 30/min · 24 s left · 3.0 MB of 8.0 MB · 20.0 GB free"
    )
    assert clock.text(110.0) == told


def test_facts(clock):
    """Programs read the same as numbers."""
    assert clock.facts(110.0) == {
        "done": 7,
        "failed": 1,
        "left": 12,
        "per_second": 0.5,
        "seconds_left": 24.0,
        "written": 3_000_000,
        "planned": 8_000_000,
        "free": 20_000_000_000,
        "step": 0,
        "steps": 0,
    }


def test_facts_before_the_plan():
    """What is left is unknown, not nothing, until a run is planned."""
    assert RunClock().facts(110.0)["left"] is None


def test_runs_of_one_command(clock):
    """The time left is at the rate of the run that goes on, not of the command's runs before."""
    clock.take(ItemCounts(20, 0, 0), 200.0)
    clock.take(ItemCounts(0, 0, 4), 201.0)
    clock.take(ItemCounts(2, 0, 2), 203.0)
    assert (clock.rate(203.0), clock.seconds_left(203.0)) == (1.0, 2.0)


def test_plain_lines(clock, capsys, monkeypatch):
    """Without a terminal a run of many traces says how far it is, but not at each trace."""
    now = iter([100.0, 102.0, 106.0, 107.0])
    monkeypatch.setattr("attn.cli.report.time", SimpleNamespace(monotonic=lambda: next(now)))
    report = ShownReport(SimpleNamespace(meta={}))
    for done in range(4):
        report.items(ItemCounts(done, 0, 4 - done))
    assert capsys.readouterr().err == "traces: 2 done, 0 failed, 2 left · 20/min · 6 s left\n"


def test_json_lines(tmp_path, monkeypatch):
    """With --json-progress stderr ends with a line of JSON, and stdout has one object as before."""
    use_fake(monkeypatch.setattr)
    command = ["capture", "-b", "fake", "-m", "demo", "-p", "a cat", "--seed", "0-2", "--json"]
    command += ["--json-progress", "--size", "16x24", "--steps", "2", "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(build(), command)
    last = json.loads(done.stderr.splitlines()[-1])["progress"]
    assert (last["done"], last["failed"], last["left"], last["step"]) == (3, 0, 0, 6)
    assert last["written"] == last["planned"] == json.loads(done.stdout)["predicted_bytes"]
    assert not any(line.startswith("step") for line in done.stderr.splitlines())


def test_disk_soon_full(tmp_path, monkeypatch):
    """A run ends before the disk is full; what is made stays, and resuming ends it."""
    use_fake(monkeypatch.setattr)
    free = iter([10**9, 10**9, 10**9, 1000])
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(TraceError, match=r"only 1.0 kB are free .* 2 of 5 traces in .* complete"):
        capture_fake(tmp_path / "run", ["a cat"], seed=range(5), report=Report())
    monkeypatch.undo()
    use_fake(monkeypatch.setattr)
    for out in ("run", "whole"):
        capture_fake(tmp_path / out, ["a cat"], seed=range(5), resume=True, report=Report())
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
