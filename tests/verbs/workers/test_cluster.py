"""What stands in the way of a Ray cluster is said, with a stand-in for Ray."""

import socket
import sys
from types import ModuleType, SimpleNamespace

import pytest

from attn.errors import CaptureError, UsageError
from attn.verbs.workers import cluster
from attn.verbs.workers.cluster import RayCrew
from attn.verbs.workers.work import WorkerRecipe

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.9.0
    Python: 3.10.4
This process on node 10.0.0.1:6379 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.fixture
def ray(monkeypatch):
    """A Ray that is installed, with one GPU, and no address."""
    module, private = ModuleType("ray"), ModuleType("ray._private")
    private.worker = SimpleNamespace()
    module.cluster_resources = lambda: {"CPU": 2.0, "GPU": 1.0}
    module.init = lambda **_: None
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "0")
    return module


def failing(*errors):
    """Return an `init` that raises an error, whose cause is the next one."""

    def init(**_):
        raise errors[0] from (errors[1] if len(errors) > 1 else None)

    return init


def start(count=2, gpus=None):
    """Start workers, which fails."""
    return RayCrew(WorkerRecipe(), count, gpus)


def test_not_installed(monkeypatch):
    """The command that installs it is named."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'attn\[ray\]'"):
        start()


@pytest.mark.parametrize(
    "errors",
    [[RuntimeError(MISMATCH)], [ConnectionError("Failed to connect"), RuntimeError(MISMATCH)]],
    ids=["itself", "cause"],
)
def test_other_version(ray, errors):
    """Both versions are named, and what to do."""
    ray.init = failing(*errors)
    with pytest.raises(CaptureError) as error:
        start()
    assert str(error.value) == (
        "cannot use Ray on this machine: Version mismatch: The cluster was started with: Ray: "
        "2.9.0 Python: 3.10.4 This process on node 10.0.0.1:6379 was started with: Ray: 2.60.0 "
        "Python: 3.11.7. Install here the Ray and the Python of the cluster"
    )


def test_no_cluster(ray, monkeypatch):
    """Of an address where something else answers the first line of what Ray says is told."""
    ray.init = failing(ConnectionError("Failed to connect to it\nTraceback …"), RuntimeError("No"))
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    with pytest.raises(CaptureError) as error:
        start()
    assert str(error.value) == (
        "cannot use the Ray cluster at RAY_ADDRESS=somewhere: Failed to connect to it"
    )


@pytest.mark.parametrize(
    ("count", "gpus", "message"),
    [
        (2, None, "2 workers with 1 GPUs each are more than the cluster's 1;"),
        (None, 2.0, "1 workers with 2 GPUs each are more than the cluster's 1;"),
        (3, 0.5, "3 workers with 0.5 GPUs each are more than the cluster's 1;"),
    ],
)
def test_more_gpus_than_there_are(ray, count, gpus, message):
    """What is wanted and what there is are said, instead of waiting for ever."""
    with pytest.raises(UsageError, match=message):
        start(count, gpus)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_nobody_answers(ray, form, monkeypatch):
    """Where nothing listens Ray, which would try for minutes, is not asked."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", form.format(bound.getsockname()[1]))
        with pytest.raises(CaptureError, match="no Ray cluster answers at RAY_ADDRESS="):
            start()


def test_nothing_comes_back(ray, monkeypatch):
    """An address that swallows what is sent to it is waited for in bounds."""
    waited = []

    def connect(address, seconds):
        waited.append(seconds)
        raise TimeoutError("timed out")

    monkeypatch.setattr(cluster.socket, "create_connection", connect)
    monkeypatch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
    with pytest.raises(CaptureError, match=r"10\.255\.255\.1:6379 \(timed out\)"):
        start()
    assert waited == [cluster.ANSWER_SECONDS]
