"""Captures that are killed: what is left is right, and resuming makes it whole, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[4]
KILLS = 16
MEMORY = Path("/dev/shm")
"""A file system without a disk, on which waiting for the disk takes no time."""


@pytest.fixture
def place(tmp_path):
    """A folder in memory if there is such a file system: a kill cannot tell the difference."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def run(*arguments):
    """Run a script that kills; return what it counted."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sample_of_the_campaign():
    """Of every command that writes: results are whole after a kill, and what others have stays."""
    result = run("-m", "benchmarks.campaign", "kills", "--sample", "15", "--seed", "3")["kills"]
    assert result.pop("escaped") == 0
    assert result.pop("kills") == 15
    assert set(result.values()) == {1}


@pytest.mark.slow
def test_killed(place):
    """After each of many kills every trace is right or says it is not, and resuming ends it.

    At random moments; before writes, renames and removals all over a run; and of a run that
    analyses what it made.
    """
    script = ROOT / "tests" / "helpers" / "killing.py"
    done = run(str(script), str(place), str(KILLS), "2026")
    for scene in ("batches", "failing", "single"):
        kills = done[scene].pop("kills")
        assert done[scene].pop("runs") == kills + 1 > 5
        assert any(set(state) <= {"pending"} for state in states(done[scene]))
    assert done["random"].pop("kills") == KILLS
    assert done["random"].pop("runs") >= KILLS / 10
    assert any("partial" in state for state in states(done["random"]))
    assert any({"complete", "pending"} <= set(state) for state in states(done["random"]))
    assert min(done["analysed"]["in capture"], done["analysed"]["in analysis"]) > 1


def states(result):
    """Return the statuses of the traces of runs that were killed."""
    return [json.loads(state) for state in result]
