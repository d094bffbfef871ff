"""A Ray for tests: real, small, and gone afterwards."""

import os
import signal
import time
from contextlib import suppress
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock

from tests.helpers.processes import MARK, running

LONGEST = 600
"""Seconds in which processes must have ended, however busy the machine is."""


@pytest.fixture
def marked(tmp_path, monkeypatch):
    """Let the processes of a test be known by what they inherit."""
    monkeypatch.setenv(MARK, str(tmp_path))


@pytest.fixture
def ray_alone(marked, monkeypatch, tmp_path_factory):
    """Let one test at a time have Ray, which keeps its files here, and leaves no process behind.

    Its folder has a short name: its sockets are in there.
    """
    lock = tmp_path_factory.getbasetemp().parent / "ray.lock"
    with FileLock(lock), TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        yield
        try:
            wait_until(lambda: not running(b""))
        finally:
            end(running(b""))


def end(processes):
    """Kill processes that are still there."""
    for number in processes:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def wait_until(happens):
    """Wait until something is so, which it must be in a while."""
    until = time.monotonic() + LONGEST
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.02)
