"""Captures that are killed: what is left is right, and resuming makes it whole, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[3]
KILLS = 120
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


def killing(*arguments):
    """Run the script that kills; return what it counted."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / "killing.py"), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sample_of_the_campaign():
    """Of every command that writes: results are whole after a kill, and what others have stays."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.campaign", "kills", "--sample", "18", "--seed", "3"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["kills"]
    assert result.pop("escaped") == 0
    assert result.pop("kills") == 18
    assert set(result.values()) == {2}


@pytest.mark.slow
def test_killed_at_random(place):
    """After each of many kills every trace is right or says it is not, and resuming ends it."""
    result = killing(place, "random", KILLS, 2026)
    assert result.pop("kills") == KILLS
    assert result.pop("runs") >= KILLS / 10
    states = [json.loads(state) for state in result]
    assert any("partial" in state for state in states)
    assert any({"complete", "pending"} <= set(state) for state in states)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["batches", "failing", "single"])
def test_killed_before_every_change(place, scene):
    """The same with a kill before each single write, rename and removal of a run."""
    result = killing(place, scene)
    kills = result.pop("kills")
    assert result.pop("runs") == kills + 1 > 20
    states = [json.loads(state) for state in result]
    assert any(set(state) <= {"pending"} for state in states)  # before there was anything
    assert (
        any("partial" not in state and "complete" in state for state in states)
        or scene == "failing"
    )


@pytest.mark.slow
def test_killed_and_analysed(place):
    """Tables and summary of long prompts are the same after a kill anywhere and a second start."""
    result = killing(place, "analysed")
    assert result["in capture"] > 2
    assert result["in analysis"] > 2
