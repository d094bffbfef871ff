"""Sessions of the fake family and of the demo models; tests that use them ask for `demo_cache`."""

from functools import cache

from attn.backends import find, load
from attn.backends.testing import FakeBackend


def open_session(name, source="demo", dtype="float32", **options):
    """Open a model of a test's own, on the CPU."""
    backend = FakeBackend() if name == "fake" else load(find(name))
    return backend.open(source, backend.Options(**options), device="cpu", dtype=dtype)


shared_session = cache(open_session)
"""The same, opened once for each choice: for tests that leave it as it is."""
