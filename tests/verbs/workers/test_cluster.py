"""What stands in the way of a Ray cluster is said, with a stand-in for Ray."""

import os
import socket
import sys
from contextlib import ExitStack, contextmanager
from threading import Thread
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
    config = ModuleType("ray.job_config")
    private.worker = SimpleNamespace()
    config.JobConfig = SimpleNamespace
    module.cluster_resources = lambda: {"CPU": 2.0, "GPU": 1.0}
    module.init = lambda **_: None
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.setitem(sys.modules, "ray.job_config", config)
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


def test_no_statistics(ray, monkeypatch):
    """Ray is told to send nothing about its use before it is imported."""
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    with pytest.raises(UsageError):
        start()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


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


@contextmanager
def server(*answers):
    """Listen on a port of this machine, and send something to whoever connects; give its address.

    Without an answer nothing is ever sent.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as threads:

        def serve():
            with listening.accept()[0] as connection:
                connection.recv(len(cluster.GREETING))
                connection.sendall(answers[0])

        if answers:
            thread = Thread(target=serve)
            thread.start()
            threads.callback(thread.join)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((), "timed out"),
        ((b"",), "what answers there is not Ray"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "what answers there is not Ray"),
    ],
)
def test_no_ray_there(ray, monkeypatch, answers, reason):
    """Whoever listens at the address and is not Ray is waited for in bounds."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 30 if answers else 0.05)
    with server(*answers) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(CaptureError, match=rf"{address} \({reason}\)"):
            start()


def test_ray_is_there(ray, monkeypatch):
    """A server of gRPC is one, and Ray goes on with it."""
    with server(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UsageError, match="are more than the cluster's 1"):
            start(2, 1.0)


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
