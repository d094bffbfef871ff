"""Processes of a test, by the mark that they inherit."""

import os
from pathlib import Path


def running(mark, *names):
    """Return the ids of other processes with one of these names, sorted.

    Args:
        mark: an environment variable whose value they have from here.
        names: bytes, one of which is in their command line.
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
