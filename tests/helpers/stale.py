"""A network file system that lost a folder: whoever touches it is told of a stale handle."""

import errno
import io
import os
from contextlib import contextmanager

import pytest

CALLS = [(io, "open")]
CALLS += [
    (os, name) for name in ("open", "stat", "listdir", "scandir", "mkdir", "unlink", "replace")
]


def _refusing(call, folder):
    def refuse(path=".", *arguments, **options):
        if str(path).startswith(str(folder)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return call(path, *arguments, **options)

    return refuse


@contextmanager
def stale(folder):
    """Let the system refuse a file or folder, and all in it, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, _refusing(getattr(module, name), folder))
        yield
