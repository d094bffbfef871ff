"""A family that takes the time it is told to, and meets on purpose what workers may meet.

It is a package with a plugin, really on disk, so that processes of workers have it too.
"""

import os
import resource
import time
from pathlib import Path

from attn.backends.testing import FakeBackend
from attn.errors import CaptureError

CODE = """
from attn import hookimpl
from attn.backends import BackendSpec

def load():
    from benchmarks.cluster.stub import StubBackend
    return StubBackend()

@hookimpl
def attn_backends():
    return [BackendSpec("stub", summary="sleeps", load=load)]
"""


SLEEP, FULL, LACKING, AHEAD = (
    f"ATTN_STUB_{name}" for name in ("SLEEP", "FULL", "LACKING", "AHEAD")
)
"""In the environment: seconds that a batch takes; files, and the worker that makes one has a full
disk, lacks a package, or has a clock that is a year ahead."""


def is_first(name):
    """Whether this process makes a file that no other has made."""
    file = os.environ.get(name)
    if not file:
        return False
    try:
        Path(file).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class StubBackend(FakeBackend):
    """Opens what the fake family does."""

    def open(self, source, options, placement):
        """Open it, or do what a worker is to do wrong."""
        session = super().open(source, options, placement)
        if not placement.weights:  # the driver
            return session
        if is_first(LACKING):
            raise ImportError("No module named 'stub_part'")
        if is_first(AHEAD):
            now = time.time
            time.time = lambda: now() + 365 * 86400
        if is_first(FULL):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        generate = session.generate

        def slow(requests, on_call):
            time.sleep(float(os.environ.get(SLEEP, "0")))
            prompts = " ".join(request.prompt for request in requests)
            if "exit" in prompts:
                os._exit(3)
            if "bad" in prompts:
                raise CaptureError("the dog ate it")
            return generate(requests, on_call)

        session.generate = slow
        return session


def write_plugin(folder):
    """Write the package; the folder and the root of this repository must be on the path."""
    info = folder / "attn_stub-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "attn_stub.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: attn-stub\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[attn]\nstub = attn_stub\n")
