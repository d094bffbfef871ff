"""Progress, loss curve and sheets of pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 100  # steps
SMOOTHING = 0.98


class Report:
    """Shows step, smoothed loss and pace: a bar on a terminal, plain lines otherwise."""

    def __init__(self, name: str, steps: int) -> None:
        """Begin.

        Args:
            name: of the stage.
            steps: in all.
        """
        self._name, self._steps = name, steps
        self._loss: float | None = None
        self._began, self._first = time.monotonic(), 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(name, total=steps)

    def __enter__(self) -> Report:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def advance(self, step: int, loss: float) -> None:
        """Tell that step number `step` is done."""
        self._first = self._first or step - 1
        self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        pace = (time.monotonic() - self._began) / (step - self._first)
        text = f"{self._name} {step}/{self._steps} loss {self._loss:.4f} {pace:.2f} s/step"
        self._bar.update(self._task, completed=step, description=text)
        if self._bar.disable and (step % LINE_EVERY == 0 or step == self._steps):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def draw_curve(losses: Path, path: Path) -> None:
    """Draw the losses of a `losses.jsonl`, smoothed, to a PNG file."""
    rows = [json.loads(line) for line in losses.read_text().splitlines()]
    values = np.array([row["loss"] for row in rows])
    width = max(1, len(values) // 100)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    axes.plot(np.arange(len(smooth)) + rows[0]["step"] + width / 2, smooth)
    figure.savefig(path)


def draw_sheet(
    pictures: Sequence[np.ndarray], titles: Sequence[str], path: Path, *, columns: int = 8
) -> None:
    """Lay pictures with their captions out in rows and write a PNG file."""
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2 * columns, 2.3 * rows), layout="constrained")
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(picture)
        axes.set_title(_break_lines(title), fontsize=7)
        axes.set_axis_off()
    figure.savefig(path)


def _break_lines(title: str) -> str:
    words = title.split()
    return "\n".join(" ".join(words[at : at + 5]) for at in range(0, len(words), 5))
