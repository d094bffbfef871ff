"""Settings of the test run, and models that many tests share."""

import os

import pytest
from hypothesis import settings

# Tests share the machine and import torch on first use: no deadlines, the same examples each time.
settings.register_profile("attn", deadline=None, derandomize=True)
settings.load_profile("attn")


@pytest.fixture(scope="session", autouse=True)
def demo_models(tmp_path_factory):
    """Keep the demo models out of the user's cache; processes of one run share them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_CACHE", str(shared / "demo-models"))
        yield


@pytest.fixture(scope="session")
def open_session(demo_models):
    """Open a demo session by backend name, once for each choice: for tests that leave it as it is."""
    opened = {}

    def open_once(name, source="demo", dtype="float32", **options):
        choice = (name, source, dtype, *sorted(options.items()))
        if choice not in opened:
            opened[choice] = open_demo(name, source, dtype, **options)
        return opened[choice]

    return open_once


def open_demo(name, source="demo", dtype="float32", **options):
    """Open a session of a built-in family or of the fake one, on the CPU."""
    if name == "fake":
        from attn.backends.testing import FakeBackend as Family
    elif name == "sd35":
        from attn.backends.sd35 import SD35Backend as Family
    elif name == "sd15":
        from attn.backends.sdxl import SD15Backend as Family
    else:
        from attn.backends.sdxl import SDXLBackend as Family
    backend = Family()
    return backend.open(source, backend.Options(**options), device="cpu", dtype=dtype)
