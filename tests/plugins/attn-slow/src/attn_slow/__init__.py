"""A plugin that takes its time."""

import time

from attn import hookimpl
from attn.backends import BackendSpec

time.sleep(0.8)


@hookimpl
def attn_backends():
    return [BackendSpec("slow", "slow to import", load)]


def load():
    from attn.backends.testing import FakeBackend

    return FakeBackend()
