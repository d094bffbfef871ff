"""Settings of the test run, and the demo models that many tests share."""

import os
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.cheaper import checked_calls
from tests.helpers.cheaper.undrawn import undrawn as undrawn_figures
from tests.helpers.models.shipped_weights import shipped_weights

checked_calls.lighten()
# Tests share the machine and import torch on first use: nothing is held against the clock, and
# examples are the same each time.
settings.register_profile(
    "attn",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("attn")


@pytest.fixture(scope="session", autouse=True)
def random_weights(tmp_path_factory):
    """Let all tests see the demo models with random weights, also once trained ones ship.

    What is tested is structure: layers, grids, bytes. Tests of trained weights ask for them.
    """
    from attn.demo import shipped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "WEIGHTS", tmp_path_factory.getbasetemp() / "no weights")
        yield


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory):
    """Set ATTN_CACHE to a fresh folder, one for all workers; demo models are built on first use."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def opened(demo_cache):
    """Open a demo model once: `opened("sd35", "demo:medium", skip_layers=(1,))`."""
    from attn.backends import find, load

    @cache
    def once(backend, model, **options):
        family = load(find(backend))
        return family.open(model, family.Options(**options))

    def session(backend, model="demo", **options):
        return once(backend, model, **options)

    return session


@pytest.fixture
def trained(demo_cache):
    """Let a test see the demo models with the weights that ship."""
    with shipped_weights():
        yield


@pytest.fixture(scope="module")
def undrawn():
    """Write figures without drawing them, for a module that looks at what stands beside them."""
    with undrawn_figures():
        yield


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A storage elsewhere; copies of what is there come into an empty cache."""
    from tests.helpers.remote.storage import Storage

    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    return Storage(monkeypatch)


@pytest.fixture
def unchecked():
    """Let a test hand over what types rule out, as users may: nothing is checked at calls."""
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
