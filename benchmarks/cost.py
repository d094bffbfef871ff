"""Time and memory of capture against plain generation and against an explicit-softmax capture.

    python -m benchmarks.cost sd3|sdxl [--steps 3] [--rounds 5] [--explicit] [--memory]

The methods take turns in one process, one whole generation each, and the ratio is taken pair by
pair, so that a machine whose speed drifts does not decide the result. `--memory` instead starts one
process per method and number of steps and compares their peaks.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attn.backends.types import Session
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.schema import Request
from attn.store import TraceWriter
from benchmarks import models

Generate = Callable[[], np.ndarray]


def plain(session: Session, request: Request) -> np.ndarray:
    """Generate without capture."""
    return np.asarray(session.generate([request], None)[0].images[0])


def attn(session: Session, request: Request) -> np.ndarray:
    """Generate with the default capture, written to disk as `attn capture` does."""
    from attn.verbs.capture import capture

    with tempfile.TemporaryDirectory() as folder:
        captured = capture(
            "sd35" if hasattr(session.pipe, "transformer") else "sdxl",  # type: ignore[attr-defined]
            request.prompt,
            model=session.pipe,  # type: ignore[attr-defined]
            out=Path(folder) / "run",
            steps=request.steps,
            guidance=request.guidance,
            size=(request.width or 0, request.height or 0),
        )
        from PIL import Image

        return np.asarray(Image.open(captured.trace.image()))


class Explicit:
    """The usual tools' way: replace every processor by one that forms the whole softmax matrix,
    keeps the image-to-text part of every step and layer in main memory, in the model's dtype."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.maps: list[torch.Tensor] = []

    def __enter__(self) -> Explicit:
        self.before = dict(self.model.attn_processors)
        import torch.nn.functional as functional

        self.original = functional.scaled_dot_product_attention
        functional.scaled_dot_product_attention = self._attention
        torch.nn.functional.scaled_dot_product_attention = self._attention
        return self

    def __exit__(self, *error: object) -> None:
        torch.nn.functional.scaled_dot_product_attention = self.original

    def _attention(self, query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        probs = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        images = query.shape[2] if key.shape[2] == 77 else query.shape[2] - 333
        if key.shape[2] == 77:
            self.maps.append(probs.clone())
        elif key.shape[2] - images == 333 and images > 0:
            self.maps.append(probs[:, :, :images, images:].clone())
        return probs @ value


def explicit(session: Session, request: Request) -> np.ndarray:
    """Generate with the explicit softmax."""
    model = next(iter(session.towers().values()))
    with Explicit(model):
        return plain(session, request)


METHODS: dict[str, Callable[[Session, Request], np.ndarray]] = {
    "plain": plain,
    "attn": attn,
    "explicit": explicit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("sd3", "sdxl"))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--explicit", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(json.dumps(_peak(arguments.model, arguments.peak_of, arguments.steps)))
    elif arguments.memory:
        _compare_memory(arguments.model, arguments.explicit)
    else:
        _compare_time(arguments)


def _compare_time(arguments: argparse.Namespace) -> None:
    session, request = _prepare(arguments.model, arguments.steps)
    names = ["plain", "attn", *(["explicit"] if arguments.explicit else [])]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    pictures: dict[str, np.ndarray] = {}
    for name in names:
        pictures[name] = METHODS[name](session, request)
    for _ in range(arguments.rounds):
        for name in names:
            began = time.perf_counter()
            METHODS[name](session, request)
            seconds[name].append(time.perf_counter() - began)
    print(f"{arguments.model}, {arguments.steps} steps, {torch.get_num_threads()} threads, median of {arguments.rounds}")
    for name in names:
        ratios = [one / other for one, other in zip(seconds[name], seconds["plain"], strict=True)]
        same = "same picture" if np.array_equal(pictures[name], pictures["plain"]) else "OTHER PICTURE"
        print(
            f"{name:>9}  {statistics.median(seconds[name]):7.2f} s  x{statistics.median(ratios):.3f} of plain "
            f"(x{min(ratios):.3f} to x{max(ratios):.3f})  {same}"
        )


def _prepare(model: str, steps: int) -> tuple[Session, Request]:
    session = models.sd3() if model == "sd3" else models.sdxl()
    request = session.complete(Request(models.PROMPT, steps=steps, guidance=5.0, width=512, height=512))
    return session, request


def _peak(model: str, method: str, steps: int) -> dict[str, float]:
    session, request = _prepare(model, steps)
    METHODS[method](session, request)
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _compare_memory(model: str, with_explicit: bool) -> None:
    runs = [("plain", 2), ("attn", 2), ("plain", 50), ("attn", 50)]
    runs += [("explicit", 2), ("explicit", 5)] if with_explicit else []
    base = 0.0
    for method, steps in runs:
        command = [sys.executable, "-m", "benchmarks.cost", model, "--peak-of", method, "--steps", str(steps)]
        peak = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["peak"]
        base = base or peak
        print(f"{method:>9}  {steps:3} steps  peak {peak:7.0f} MB  {peak - base:+7.0f} MB against plain at 2 steps")


if __name__ == "__main__":
    main()
