"""Workers that are actors of a Ray cluster, or of a Ray that is started on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from attn.errors import CaptureError, UsageError
from attn.files.outside import os_reason
from attn.library_warnings import hush_libraries
from attn.verbs.workers.drive import LOST, no_workers
from attn.verbs.workers.work import BatchAnswer, BatchMembers, WorkerRecipe, decode, encode

LONGEST = 300
"""Most letters of a message of Ray's."""
ANSWER_SECONDS = 30
"""So long a cluster may take to answer."""
STORE_BYTES = 80_000_000
"""Of a Ray that is started here: only small records cross it, and Ray takes no less."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of gRPC says first: it speaks HTTP/2, with settings as they are."""
SETTINGS = 4
"""The fourth byte of what a server answers: its frame has its settings."""


class RayMaker:
    """What an actor is: a model that stays loaded. Only JSON crosses."""

    def __init__(self, recipe: bytes) -> None:
        from attn.verbs.workers.maker import open_maker

        hush_libraries()  # this process is an actor's
        self._maker = open_maker(decode(recipe, WorkerRecipe))

    def load(self) -> bytes:
        """Return the answer to the recipe: nothing, or why the model cannot be had here."""
        is_ended = isinstance(self._maker, BatchAnswer)
        return encode(self._maker if is_ended else BatchAnswer())

    def make(self, members: bytes) -> bytes:
        """Make a batch."""
        if isinstance(self._maker, BatchAnswer):
            return self.load()
        return encode(self._maker.make(decode(members, BatchMembers)))


@dataclass
class _Actor:
    handle: Any
    is_ready: bool = False
    lost: int = 0


class RayCrew:
    """Actors, each with its share of the GPUs."""

    def __init__(self, recipe: WorkerRecipe, count: int | None, gpus: float | None) -> None:
        """Connect, or start Ray here, and start the actors.

        Args:
            recipe: of the run.
            count: of actors; None is one for each GPU, or one.
            gpus: of each; None is one where the cluster has any.

        Raises:
            UsageError: Ray is not installed, or there are fewer GPUs than are asked for.
            CaptureError: the cluster does not answer.
        """
        self._ray = _connect(count)
        there = self._ray.cluster_resources().get("GPU", 0.0)
        self._gpus = (1.0 if there else 0.0) if gpus is None else gpus
        wanted = count or (max(1, int(there / self._gpus)) if self._gpus else 1)
        if self._gpus * wanted > there:
            raise UsageError(
                f"{wanted} workers with {self._gpus:g} GPUs each are more than the cluster's "
                f"{there:g}; give fewer --workers, or less with --gpus-per-worker"
            )
        self._recipe = encode(recipe)
        self._reasons: list[str] = []
        self._running: dict[Any, int] = {}
        self._idle: set[int] = set()
        self._actors: dict[int, _Actor] = {}
        for number in range(wanted):
            self._begin(number, lost=0)

    def idle(self) -> list[int]:
        """Return the workers that wait for work."""
        return sorted(self._idle)

    def start(self, worker: int, members: BatchMembers) -> None:
        """Let a worker make a batch."""
        self._idle.discard(worker)
        reference = self._actors[worker].handle.make.remote(encode(members))
        self._running[reference] = worker

    def wait(self) -> tuple[int, BatchAnswer | str]:
        """Wait for a worker that has made its batch, or is lost; a lost one is replaced."""
        if not self._running:
            raise no_workers(self._reasons)
        reference = self._wait_ready()
        worker = self._running.pop(reference)
        try:
            answer: BatchAnswer = decode(self._ray.get(reference), BatchAnswer)
        except self._ray.exceptions.RayError as error:
            return worker, self._replace(worker, _loss(error))
        if answer.ended is not None:
            self._reasons.append(answer.ended)
            return worker, answer
        self._actors[worker].is_ready = True
        self._idle.add(worker)
        return worker, answer

    def _wait_ready(self) -> Any:
        """Return the next reference that is ready; those of actors without a place never are.

        Raises:
            CaptureError: the cluster has no place for a worker any more.
        """
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=ANSWER_SECONDS)
            if ready:
                return ready[0]
            has_work = any(self._actors[at].is_ready for at in self._running.values())
            there = self._ray.cluster_resources()
            if not has_work and (there.get("CPU", 0) < 1 or there.get("GPU", 0) < self._gpus):
                raise no_workers([*self._reasons, "the cluster has no place for one"])

    def retire(self, worker: int) -> None:
        """End a worker for good."""
        self._ray.kill(self._actors.pop(worker).handle)

    def __enter__(self) -> RayCrew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._ray.shutdown()

    def _begin(self, number: int, lost: int) -> None:
        remote = self._ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0)(RayMaker)
        handle = remote.remote(self._recipe)
        self._actors[number] = _Actor(handle, lost=lost)
        self._running[handle.load.remote()] = number

    def _replace(self, number: int, reason: str) -> str:
        gone = self._actors.pop(number)
        self._ray.kill(gone.handle)  # where only the network to it is lost, it must not write on
        lost = 0 if gone.is_ready else gone.lost + 1
        told = f"worker {number} is lost: {reason}"
        if lost < LOST:
            self._begin(number, lost)
        else:
            self._reasons.append(told)
        return told


def _connect(count: int | None) -> Any:
    """Return Ray, connected to the cluster of RAY_ADDRESS, or started on this machine.

    Args:
        count: of workers; on this machine that many have a place.

    Raises:
        UsageError: it is not installed.
        CaptureError: the cluster does not answer, or has another version of Ray.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray needs Ray: pip install 'attn[ray]' (without it: --workers N, or --shard)"
        ) from error
    address = os.environ.get("RAY_ADDRESS")
    _require_answer(address)
    small = {"num_cpus": count, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    here: Mapping[str, Any] = {} if address else small
    from ray._private import worker as ray_worker

    ray_worker._worker_logs_enabled = False  # it would print on stdout that a worker was lost
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=_job_config(),
            **here,
        )
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise CaptureError(f"cannot use {where}: {_reason(error)}") from error
    return ray


class _NoFolders(list[str]):
    """Stays empty."""

    def extend(self, folders: Iterable[str]) -> None:
        """Take nothing."""


def _job_config() -> Any:
    """Return what lets workers import what is installed only, not what lies in this folder.

    Ray would put the folder in which the command runs before all others.
    """
    from ray.job_config import JobConfig

    config = JobConfig()
    config._py_driver_sys_path = _NoFolders()
    return config


def _require_answer(address: str | None) -> None:
    """Refuse an address of a cluster where no Ray listens; Ray itself would try for minutes.

    Raises:
        CaptureError: says which.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        _greet(host.strip("[]"), int(port))
    except OSError as error:
        raise CaptureError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({os_reason(error)}): start one "
            "there (ray start --head), or unset RAY_ADDRESS to use this machine"
        ) from error


def _greet(host: str, port: int) -> None:
    """Wait, in bounds, for the first answer of a server of gRPC.

    Raises:
        OSError: nothing answers, or something else.
    """
    with socket.create_connection((host, port), ANSWER_SECONDS) as there:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # what follows is encrypted
        there.sendall(GREETING)
        with there.makefile("rb") as answers:
            answer = answers.read(9)
    if answer[3:4] != bytes([SETTINGS]):
        raise ConnectionError("what answers there is not Ray")


def _loss(error: BaseException) -> str:
    """Return what Ray knows of the end of an actor: its last line, where the cause stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("The actor")]
    return (causes or lines or [type(error).__name__])[-1][:LONGEST]


def _reason(error: BaseException) -> str:
    """Return why Ray cannot be used; of another version the cause tells, in several lines."""
    for told in (error, error.__cause__):
        if (text := str(told)).startswith("Version mismatch"):
            return f"{' '.join(text.split())}. Install here the Ray and the Python of the cluster"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
