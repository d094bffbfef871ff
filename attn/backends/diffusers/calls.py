"""Announcing calls: before every forward of a tower, what runs next, and with which noise."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Literal

import torch
from torch import nn

from attn.backends.diffusers import schedules
from attn.backends.diffusers.sharing import LOAD_TWICE
from attn.backends.types import OnCall
from attn.errors import CaptureError
from attn.schema import Call, Lengths

SKIP = "skip"
"""The guidance row that leaves layers out; it reads what `cond` reads."""


Guidance = Literal["batch", "cond first", "calls"]
"""How guidance rows run; see `DiffusersSession.guidance`."""


@dataclass(frozen=True)
class Tower:
    """A module whose forwards are announced.

    Attributes:
        name: `denoiser`, or what the family calls it.
        module: runs.
        forwards: the guidance rows of each forward that belongs to one noise level, in the order
            in which the pipeline runs them and stacks them in the batch.
    """

    name: str
    module: nn.Module
    forwards: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pipeline:
    """What the announcements of a session are made from.

    Attributes:
        scheduler: that runs.
        input_name: of the denoiser's argument that holds the noisy latents, if it is not the first.
        skipped_paths: what a forward with these keywords leaves out.
        samples: pictures of the batch.
        lengths: by branch, of each of these how long its text is; see `Call.lengths`.
        skipped: with how many forwards the schedule begins that do not run.
        concepts: states of words that the model does not read; see `Call.concepts`.
        takes_turns: whether one of the towers runs at each noise level, not all of them.
    """

    scheduler: Any
    input_name: str
    skipped_paths: Callable[[Mapping[str, Any]], tuple[str, ...]]
    samples: int
    lengths: Mapping[str, Sequence[Lengths]] = field(default_factory=dict)
    skipped: Callable[[], int] = lambda: 0
    concepts: tuple[torch.Tensor, ...] = ()
    takes_turns: bool = False


def forwards(branches: Sequence[str], guidance: Guidance) -> tuple[tuple[str, ...], ...]:
    """Return the rows of each forward at one noise level; `skip` is told by its keywords."""
    rows = tuple(branch for branch in branches if branch != SKIP)
    if guidance == "calls":
        return tuple((row,) for row in rows)
    return (rows if guidance == "cond first" else rows[::-1],)


@contextmanager
def announcing(
    towers: Sequence[Tower], pipeline: Pipeline, on_call: OnCall | None
) -> Iterator[list[str]]:
    """Tell of every forward of the towers; nothing stays on them.

    Yields:
        SHA-256 of the latents that each sample began with, once the denoiser ran; empty where
        nobody listens.

    Raises:
        CaptureError: a batch of another size ran, or a forward in another thread; raised from
            within the forward.
    """
    if on_call is None:
        yield []
        return
    counts: list[Counter[str]] = [Counter() for _ in towers]
    counts = counts[:1] * len(towers) if pipeline.takes_turns else counts
    announcers = [
        _Announcer(tower, pipeline, on_call, ran) for tower, ran in zip(towers, counts, strict=True)
    ]
    handles = [
        tower.module.register_forward_pre_hook(announcer, with_kwargs=True)
        for tower, announcer in zip(towers, announcers, strict=True)
    ]
    try:
        yield announcers[0].noise
    finally:
        for handle in handles:
            handle.remove()


class _Announcer:
    """A forward pre-hook on a tower that says what runs next."""

    def __init__(
        self, tower: Tower, pipeline: Pipeline, on_call: OnCall, ran: Counter[str]
    ) -> None:
        self._tower = tower
        self._pipeline = pipeline
        self._on_call = on_call
        self._ran = ran  # shared by towers that take turns
        self._steps: list[int] = []
        self._thread = get_ident()
        self.noise: list[str] = []

    def __call__(self, module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if get_ident() != self._thread:
            raise CaptureError(
                f"the {self._tower.name} is recorded in another thread; {LOAD_TWICE}"
            )
        scheduler, samples = self._pipeline.scheduler, self._pipeline.samples
        skipped = self._pipeline.skipped_paths(keywords)
        self._ran["forwards"] += not skipped
        level, number = divmod(self._ran["forwards"] - 1, len(self._tower.forwards))
        self._steps = self._steps or schedules.call_steps(scheduler)
        latents = args[0] if args else keywords[self._pipeline.input_name]
        if not self.noise:
            self.noise += [_sha256(sample) for sample in latents[-samples:]]
        begin = self._pipeline.skipped()
        level += begin
        timestep = float(scheduler.timesteps[level])
        branches = (SKIP,) if skipped else self._tower.forwards[number]
        rows = self._rows(len(latents), branches)
        lengths = self._pipeline.lengths
        self._on_call(
            Call(
                tower=self._tower.name,
                step=self._steps[level] - self._steps[begin],
                timestep=timestep,
                noise=schedules.noise_left(scheduler, timestep),
                rows=rows,
                skipped_layers=skipped,
                lengths=tuple(lengths[branch][sample] for branch, sample in rows if lengths),
                concepts=self._pipeline.concepts,
            )
        )

    def _rows(self, batch: int, branches: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        samples = self._pipeline.samples
        if batch != len(branches) * samples:
            raise CaptureError(
                f"the {self._tower.name} ran a batch of {batch}; expected {samples} samples "
                f"in the branches {', '.join(branches)}"
            )
        return tuple((branch, sample) for branch in branches for sample in range(samples))


def _sha256(tensor: torch.Tensor) -> str:
    data = tensor.detach().contiguous().cpu().view(torch.uint8)
    return hashlib.sha256(data.numpy().tobytes()).hexdigest()
