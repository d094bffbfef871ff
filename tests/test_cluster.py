"""The job scripts that ship: each makes its part of a run, and all parts are the run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.verbs.capture.collection import read_index

CLUSTER = Path(__file__).parents[1] / "examples" / "cluster"
RECORD = f"""#!{sys.executable}
import json, os, sys
slurm = {{name: value for name, value in os.environ.items() if name.startswith("SLURM")}}
with open("recorded", "a") as file:
    file.write(json.dumps([sys.argv[1:], slurm]) + "\\n")
"""
SMALL = {"0-7": "0-2"}
"""What is made less of: three traces are enough."""

pytestmark = pytest.mark.usefixtures("demo_cache")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a prompt, an `attn` that notes how it is called, and an `ssh` to here."""
    monkeypatch.chdir(tmp_path)
    Path("bin").mkdir()
    for name, text in {"attn": RECORD, "ssh": '#!/bin/sh\nshift; exec sh -c "$*"\n'}.items():
        Path("bin", name).write_text(text)
        Path("bin", name).chmod(0o755)
    Path("prompts.txt").write_text("a cat\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BACKEND", "sd15")
    monkeypatch.setenv("RUNS", str(tmp_path))
    return tmp_path


def make_recorded(monkeypatch):
    """Run the commands that scripts gave."""
    for line in Path("recorded").read_text().splitlines():
        arguments, slurm = json.loads(line)
        for name, value in slurm.items():
            monkeypatch.setenv(name, value)
        small = [SMALL.get(argument, argument) for argument in arguments]
        made = CliRunner().invoke(build(), [*small, "--steps", "1", "--keep", "mass"])
        assert made.exit_code == 0, made.output


def statuses(folder):
    """Return the status of each trace."""
    return [entry.status for entry in read_index(folder)]


def test_array(workplace, monkeypatch):
    """The tasks of a SLURM job array make all of the run."""
    for task in (1, 2):
        names = {"ID": task, "MIN": 1, "MAX": 2, "COUNT": 2}
        array = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
        script = ["bash", str(CLUSTER / "array.sbatch")]
        subprocess.run(script, check=True, env=os.environ | array)
    make_recorded(monkeypatch)
    assert statuses(workplace / "run") == ["complete"] * 3


def test_hosts(workplace, monkeypatch):
    """Hosts that are reached by ssh make all of the run."""
    subprocess.run(["sh", str(CLUSTER / "hosts.sh"), "alpha", "beta"], check=True)
    make_recorded(monkeypatch)
    assert statuses(workplace / "run") == ["complete"] * 3


def test_pool(workplace, monkeypatch):
    """Nodes without a folder in common make folders that can be merged."""
    text = (CLUSTER / "pool.yaml").read_text()
    (script,) = re.findall(r"^run: \|\n((?:  .*\n)+)", text, re.MULTILINE)
    for rank in (0, 1):
        sky = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "2"}
        subprocess.run(["bash", "-c", script], check=True, env=os.environ | sky)
    make_recorded(monkeypatch)
    attn.merge("part-0", "part-1", out="all")
    assert statuses(workplace / "all") == ["complete"] * 3
