"""Processes of a test, by the mark that they inherit, and how they are killed."""

import os
import signal
from pathlib import Path

from attn.verbs.report import Report

MARK = "ATTN_TEST_OF_WORKERS"
WORKERS = (b"attn.verbs.workers.process", b"ray::RayMaker")
"""What workers are called among processes."""


def running(*names, mark=MARK):
    """Return the ids of other processes with one of these names, sorted.

    Args:
        names: bytes, one of which is in their command line.
        mark: an environment variable whose value they have from here.
    """
    inherited = f"{mark}={os.environ[mark]}".encode()
    ids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if any(name in command for name in names) and inherited in environment:
            ids.append(int(folder.name))
    return sorted(set(ids) - {os.getpid()})


class KillingReport(Report):
    """Kills processes by SIGKILL, each as soon as so many traces are there.

    Args:
        victims: functions that return the id of a process, by the number of traces.
    """

    def __init__(self, victims):
        super().__init__()
        self._victims = dict(victims)
        self.killed = []

    def items(self, counts):
        for number in [number for number in self._victims if number <= counts.done]:
            self.killed.append(self._victims.pop(number)())
            os.kill(self.killed[-1], signal.SIGKILL)
