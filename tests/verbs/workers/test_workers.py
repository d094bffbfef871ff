"""Runs that workers make: what one process would have left, whoever of them dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import attn
from attn.errors import UsageError
from attn.verbs.report import Report
from attn.verbs.workers.crews import require_plain
from tests.helpers.toy_runs import contents

COUNT = 4
NAME = b"attn.verbs.workers.process"
"""What workers are called among processes."""
MARK = "ATTN_TEST_OF_WORKERS"
RUN = {"seed": range(COUNT), "steps": 2, "keep": "mass", "size": (64, 64)}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]


@pytest.fixture(autouse=True)
def marked(tmp_path, monkeypatch):
    """Let the workers of a test be known by what they inherit."""
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(attn.__file__).parents[1]))


def workers():
    """Return the workers of this test that run now."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    running = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            inherited = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if NAME in command and mark in inherited:
            running.append(int(folder.name))
    return running


class Killing(Report):
    """Kills a worker when the first trace is there."""

    def __init__(self):
        super().__init__()
        self.killed = 0

    def progress(self, done, total, written):
        if not self.killed:
            self.killed = workers()[0]
            os.kill(self.killed, signal.SIGKILL)


@pytest.fixture(scope="module")
def serial(demo_cache, tmp_path_factory):
    """Everything that a run of one process leaves."""
    folder = tmp_path_factory.mktemp("serial") / "run"
    attn.capture("sd15", "a red cat", out=folder, **RUN)
    return contents(folder)


def test_killed_worker(tmp_path, serial):
    """With a worker killed meanwhile the run is complete, and bit for bit that of one process."""
    report = Killing()
    out = tmp_path / "run"
    done = attn.capture("sd15", "a red cat", out=out, workers=2, report=report, **RUN)
    assert (len(done.failures), bool(report.killed)) == (0, True)
    assert contents(out) == serial
    while workers():  # they end when they are not needed
        time.sleep(0.02)


def test_killed_driver(tmp_path, serial):
    """Where the driver dies its workers end, and the same command makes what is missing."""
    out = tmp_path / "run"
    command = [*(sys.executable, "-m", "attn", "capture", "-b", "sd15", "-p", "a red cat")]
    command += ["--seed", f"0-{COUNT - 1}", "--steps", "2", "--keep", "mass", "--size", "64x64"]
    command += ["--workers", "2", "--resume", "--out", str(out)]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (out / "index.jsonl").exists():
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    while workers():  # they end with the batch that they make
        time.sleep(0.02)
    subprocess.run(command, check=True, capture_output=True)
    assert contents(out) == serial


def test_loaded_pipeline():
    """A model that is loaded here cannot be had by other processes."""
    with pytest.raises(UsageError, match="workers open the model themselves"):
        require_plain(object())
