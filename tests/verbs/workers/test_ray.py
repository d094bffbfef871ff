"""A real Ray of two nodes: whatever of it is killed, every trace is made once and as ever."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import attn
from attn.trace.store import MANIFEST
from attn.verbs.capture.collection import read_index
from tests.helpers.processes import WORKERS, running
from tests.helpers.toy_runs import contents
from tests.verbs.workers.conftest import LONGEST, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]

ROOT = Path(attn.__file__).parents[1]
ITEMS, BATCH, CREW = 60, 2, 2
CLUSTER = """
import signal, sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
alone = {"no_monitor": True, "include_log_monitor": False}
cluster = Cluster(initialize_head=True, head_node_args=node | alone)
[raylet] = cluster.add_node(**node).all_processes["raylet"]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who is killed is gone, and no zombie
print("cluster", cluster.address, raylet.process.pid, flush=True)
sys.stdin.read()
"""
DRIVER = """
import os, sys
from tests.helpers.processes import WORKERS, KillingReport, running
from tests.verbs.workers.test_ray import capture

victims = {7: lambda: running(*WORKERS)[0], 15: lambda: int(sys.argv[2]), 23: os.getpid}
capture(sys.argv[1], workers=2, engine="ray", report=KillingReport(victims))
"""


def capture(out, **options):
    """Make sixty traces of a demo model, or go on."""
    small = {"size": (64, 48), "steps": 1, "keep": "mass", "batch": BATCH}
    options = {"model": "demo", "seed": range(ITEMS), "resume": True, **small, **options}
    return attn.capture("sd15", "a red cat", out=out, **options)


@contextmanager
def started(code, *arguments, **streams):
    """Run Python code in the root of this repository, while the block lasts at most."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, cwd=ROOT, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def raylet(ray_alone, monkeypatch):
    """A cluster of two nodes, each with a place for a worker; gives the raylet of the second."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(CLUSTER, **pipes) as cluster:
        line = next(line for line in cluster.stdout if line.startswith("cluster"))
        _, address, number = line.split()
        monkeypatch.setenv("RAY_ADDRESS", address)
        yield int(number)


def complete(out):
    """Return when the manifests of complete traces were written, by trace."""
    return {
        entry.folder: (out / entry.folder / MANIFEST).stat().st_mtime_ns
        for entry in read_index(out)
        if entry.status == "complete"
    }


def test_kills(raylet, tmp_path, monkeypatch):
    """With a worker, a node and the driver killed the same command goes on, as one process would.

    What was complete stays as it is, and of the others no more were begun than workers had. A
    module that lies in the working folder is not taken for a library by the workers.
    """
    serial, out = tmp_path / "serial", tmp_path / "run"
    capture(serial)
    with started(DRIVER, str(out), str(raylet)) as driver:
        assert driver.wait(LONGEST) == -signal.SIGKILL
    wait_until(lambda: not running(*WORKERS))  # they end with their driver
    assert raylet not in running(b"raylet")
    kept = complete(out)
    assert 23 <= len(kept) < ITEMS
    assert len([*out.glob(f"*/{MANIFEST}")]) - len(kept) <= CREW * BATCH
    (tmp_path / "msgspec.py").write_text("raise ImportError('this is no library')\n")
    monkeypatch.chdir(tmp_path)
    capture(out, workers=CREW, engine="ray")
    assert contents(out) == contents(serial)
    assert kept.items() <= complete(out).items()
