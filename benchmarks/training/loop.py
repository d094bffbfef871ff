"""A training loop that can be killed at any time and goes on as if nothing had happened.

All random choices of a step come from the seed and the step's number, so a checkpoint needs no
random state. On a CPU each core computes the gradient of its own part of the batch in one thread:
the operations of small models are too short to be shared between cores.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.training.report import Report, draw_curve

WARM_UP = 200
SMALLEST_RATE = 0.01  # of the highest
AVERAGE_DECAY = 0.998
CHECKPOINT_EVERY = 100

Models = Mapping[str, torch.nn.Module]


@dataclass(frozen=True)
class Stage:
    """What to train and how.

    Attributes:
        name: of its files.
        models: trained in place, together, of which what asks for gradients.
        averages: the same models again; they become the moving average that is shipped.
        loss: of a number of examples that it draws from a generator itself.
        show: draws what the averages have learned to a PNG file.
        steps: number of steps, which the learning rate depends on.
        batch: examples per step.
        rate: highest learning rate.
        show_every: steps between two pictures.
    """

    name: str
    models: Models
    averages: Models
    loss: Callable[[np.random.Generator, int], torch.Tensor]
    show: Callable[[Path], None]
    steps: int
    batch: int
    rate: float
    show_every: int


class Training:
    """The state of a stage: parameters, their average, the optimiser's moments, the step."""

    def __init__(self, stage: Stage, *, seed: int = 0, workers: int | None = None) -> None:
        """Begin at step 0.

        Args:
            stage: what to train.
            seed: of all random choices.
            workers: parts of a batch; by default one per core, or one in all on a GPU. Another
                number gives another rounding.
        """
        self.stage = stage
        self.seed = seed
        self.step = 0
        self.parameters = _named(stage.models)
        self.averages = _named(stage.averages)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.workers = workers or _count_workers(self.parameters.values())
        self.pool = ThreadPoolExecutor(
            self.workers, initializer=torch.set_num_threads, initargs=(1,)
        )
        with torch.no_grad():
            for name, average in self.averages.items():
                average.copy_(self.parameters[name])

    def advance(self) -> float:
        """Take one step; returns the mean loss of its batch."""
        results = list(self.pool.map(self._differentiate, range(self.workers)))
        for parameter, *parts in zip(
            self.parameters.values(), *(gradients for _, gradients in results), strict=True
        ):
            unused = parts[0] is None
            parameter.grad = None if unused else torch.stack(parts).mean(0)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.stage.rate * schedule(self.step, self.stage.steps)
        self.optimizer.step()
        self._average()
        self.step += 1
        return float(np.mean([loss for loss, _ in results]))

    def save(self, path: Path) -> None:
        """Write everything to one file, which is replaced only when the new one is complete."""
        tensors = {f"model/{name}": tensor for name, tensor in self.parameters.items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.averages.items()}
        for name, parameter in self.parameters.items():
            for moment, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}/{name}"] = tensor
        scratch = path.with_suffix(".partial")
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, scratch, metadata={"step": str(self.step)})
        scratch.replace(path)

    def load(self, path: Path) -> None:
        """Go back to the state that `save` wrote."""
        with safe_open(path, framework="pt") as file, torch.no_grad():
            self.step = int(file.metadata()["step"])
            for name, parameter in self.parameters.items():
                parameter.copy_(file.get_tensor(f"model/{name}"))
                self.averages[name].copy_(file.get_tensor(f"average/{name}"))
            for key in file.keys():  # noqa: SIM118  the file is no mapping
                moment, name = key.split("/", 1)
                if moment not in {"model", "average"}:
                    like = self.parameters[name]
                    self.optimizer.state[like][moment] = _like(file.get_tensor(key), like)

    def _differentiate(self, part: int) -> tuple[float, tuple[torch.Tensor | None, ...]]:
        """Loss and gradients of one part of the batch; None where a parameter plays no part."""
        rng = np.random.default_rng([self.seed, self.step, part])
        loss = self.stage.loss(rng, self.stage.batch // self.workers)
        gradients = torch.autograd.grad(loss, list(self.parameters.values()), allow_unused=True)
        return loss.item(), gradients

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(
            list(self.averages.values()), list(self.parameters.values()), 1 - decay
        )


def train(stage: Stage, folder: Path, *, deadline: float = math.inf) -> bool:
    """Train a stage to its end, from its last checkpoint if there is one.

    Args:
        stage: what to train.
        folder: of the checkpoint, the losses, their curve and the pictures.
        deadline: stop at this `time.monotonic()`.

    Returns:
        Whether the stage is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, losses = folder / "checkpoint.safetensors", folder / "losses.jsonl"
    training = Training(stage)
    if checkpoint.exists():
        training.load(checkpoint)
    _forget_losses(losses, training.step)
    with losses.open("a", buffering=1) as log, Report(stage.name, stage.steps) as report:
        while training.step < stage.steps and time.monotonic() < deadline:
            loss = training.advance()
            log.write(json.dumps({"step": training.step, "loss": loss}) + "\n")
            report.advance(training.step, loss)
            if training.step % CHECKPOINT_EVERY == 0:
                training.save(checkpoint)
            if training.step % stage.show_every == 0 or training.step == stage.steps:
                stage.show(folder / f"sheet-{training.step:05d}.png")
                draw_curve(losses, folder / "losses.png")
    training.save(checkpoint)
    return training.step == stage.steps


def schedule(step: int, steps: int) -> float:
    """Learning rate as a fraction of the highest: a linear rise, then half a cosine."""
    rise = min(1.0, (step + 1) / WARM_UP)
    fall = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    return rise * (SMALLEST_RATE + (1 - SMALLEST_RATE) * fall)


def _named(models: Models) -> dict[str, torch.nn.Parameter]:
    return {
        f"{model}.{name}": parameter
        for model, module in models.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _count_workers(parameters: Iterable[torch.nn.Parameter]) -> int:
    on_cpu = next(iter(parameters)).device.type == "cpu"
    return len(os.sched_getaffinity(0)) if on_cpu else 1


def _like(tensor: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    """Lay a moment out in memory as its parameter is; the count of steps is a number."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def _forget_losses(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))
