"""Time and memory of capture against plain generation and against an explicit-softmax capture.

    python -m benchmarks.cost sd3|sdxl [--steps 3] [--rounds 5] [--explicit] [--cut]
        [--keep mass maps heads factors+full]
    python -m benchmarks.cost sd3|sdxl --memory [--explicit] [--steps 50]

The methods take turns in one process, one whole generation each (text encoding, sampling, picture,
and for `attn` every file on disk), and ratios are taken pair by pair, so that a machine whose speed
drifts does not decide the result. Beside other busy processes, the processor's time with one thread
(`OMP_NUM_THREADS=1`) says more than the clock on the wall. `--cut` also takes the time of a variant
of `attn ablate --cut WORD`: a generation in which a word's keys are masked, and what the ablation
keeps of it is recorded and written; held against a plain generation of the same picture, it is what
an ablation takes for each of its pictures, but for the comparison (`benchmarks.compare_cost`).
`--keep` takes that of each
level, with `+full` of `--mass full`, and says what its bytes cost: the ratio of a capture that took
the plain time and that of writing its bytes, at the rate at which a file of as many was just
written, and a tenth more. `--memory` starts one process per method and number of steps and
compares their peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from attn.backends.types import Session
from attn.engine.plan import Keep, Plan, make_plan
from attn.schema import Request, find_words
from attn.verbs.capture.capture import capture
from benchmarks.networks import shapes

TEXT_KEYS = {"sdxl": 77, "sd3": 77 + 256}
ALLOCATOR = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
"""glibc gives freed memory back at once, or its own habits move peaks by 50 MB from run to run."""

Method = Callable[[str, Session, Request], np.ndarray]


def plain(model: str, session: Session, request: Request) -> np.ndarray:
    """Generate without capture."""
    return np.asarray(session.generate([request], None)[0].images[0])


def cut(model: str, session: Session, request: Request) -> np.ndarray:
    """Generate a variant of `attn ablate`, which keeps means: the kernel is given another mask."""
    word = find_words(request.prompt)[0].text
    return attn(model, session, request, cut=f"word {word}", keep="means", forming=False)


def attn(
    model: str,
    session: Session,
    request: Request,
    *,
    cut: str | None = None,
    keep: str = "maps",
    forming: bool = True,
    sizes: dict[str, int] | None = None,
) -> np.ndarray:
    """Generate with a capture, as `attn capture` does.

    Args:
        model: of `TEXT_KEYS`.
        session: of it.
        request: completed.
        cut: what is cut.
        keep: level of detail, by default that of `attn capture`; with `+full` and all masses.
        forming: whether a small picture of each step is kept, as `attn capture` does.
        sizes: takes the bytes of `attention/`, by `keep`.
    """
    level, _, full = keep.partition("+")
    kept: Any = {"keep": level, "mass": "full" if full else "text"}
    with tempfile.TemporaryDirectory() as folder:
        captured = capture(
            {"sd3": "sd35"}.get(model, model),
            request.prompt,
            model=session.pipe,  # type: ignore[attr-defined]
            out=Path(folder) / "run",
            steps=request.steps,
            guidance=request.guidance,
            size=(request.width or 0, request.height or 0),
            cut=cut,
            budget="100GB",
            forming=forming,
            **kept,
        )
        if sizes is not None:
            sizes[keep] = sum(shard.bytes for shard in captured.trace.manifest.shards)
        return np.asarray(Image.open(captured.trace.image()))


def explicit(model: str, session: Session, request: Request) -> np.ndarray:
    """Generate the usual tools' way.

    Every attention forms its whole softmax matrix, and the image-to-text part of every step, layer
    and guidance row stays in main memory.
    """
    kept: list[torch.Tensor] = []
    text = TEXT_KEYS[model]

    def attention(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> torch.Tensor:
        probs = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        if key.shape[2] == text:
            kept.append(probs.clone())
        elif model == "sd3" and key.shape[2] > text:
            kept.append(probs[:, :, :-text, -text:].clone())
        return probs @ value

    with mock.patch("torch.nn.functional.scaled_dot_product_attention", attention):
        return plain(model, session, request)


METHODS: dict[str, Method] = {"plain": plain, "attn": attn, "cut": cut, "explicit": explicit}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(TEXT_KEYS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--explicit", action="store_true")
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--keep", nargs="+", default=[])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(json.dumps(_peak(arguments.model, arguments.peak_of, arguments.steps)))
    elif arguments.memory:
        _compare_memory(arguments)
    else:
        _compare_time(arguments)


def prepare(model: str, steps: int) -> tuple[Session, Request]:
    """Build a model of random weights, and what is asked of it."""
    session = shapes.sd3() if model == "sd3" else shapes.sdxl()
    request = Request(shapes.PROMPT, steps=steps, guidance=5.0, width=512, height=512)
    return session, session.complete(request)


def plan(session: Session, request: Request) -> Plan:
    """Return what a capture keeps by default."""
    sequences = {branch: session.sequence(request, branch) for branch in session.branches(request)}
    layers, steps = session.layers(request), request.steps or 1
    return make_plan(layers, sequences, Keep(), samples=1, steps=steps, dtype="F32")


def _compare_time(arguments: argparse.Namespace) -> None:
    model = arguments.model
    session, request = prepare(model, arguments.steps)
    wanted = {"cut": arguments.cut, "explicit": arguments.explicit}
    methods = {
        name: METHODS[name]
        for name in ("plain", *([] if arguments.keep else ["attn"]), *filter(wanted.get, wanted))
    }
    sizes: dict[str, int] = {}
    methods |= {keep: partial(attn, keep=keep, sizes=sizes) for keep in arguments.keep}
    pictures = {name: method(model, session, request) for name, method in methods.items()}
    wall: dict[str, list[float]] = {name: [] for name in methods}
    processor: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(arguments.rounds):
        for name, method in methods.items():
            began, began_processor = time.perf_counter(), time.process_time()
            method(model, session, request)
            wall[name].append(time.perf_counter() - began)
            processor[name].append(time.process_time() - began_processor)
    threads = torch.get_num_threads()
    print(f"{model}, {arguments.steps} steps, {threads} threads, {arguments.rounds} rounds")
    for name in methods:
        same = np.array_equal(pictures[name], pictures["plain"])
        print(f"{name:>14}   {'same picture' if same else 'another picture'}")
        for clock, seconds in (("wall", wall), ("processor", processor)):
            ratios = [
                taken / base for taken, base in zip(seconds[name], seconds["plain"], strict=True)
            ]
            print(
                f"{clock:>14} {statistics.median(seconds[name]):8.2f} s"
                f"   x{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )
        if name in sizes:
            bound = 1.1 * (1 + _writing(sizes[name]) / statistics.median(wall["plain"]))
            print(f"{'bound':>14} {sizes[name] / 1e6:7.1f} MB   x{bound:.3f}")


def _writing(size: int) -> float:
    """Return the seconds of writing a file of some bytes to the disk of temporary files."""
    data = os.urandom(min(size, 2**24))
    seconds = []
    for _ in range(3):
        with tempfile.NamedTemporaryFile() as file:
            began = time.perf_counter()
            for start in range(0, size, len(data)):
                file.write(data[: size - start])
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _peak(model: str, method: str, steps: int) -> float:
    session, request = prepare(model, steps)
    METHODS[method](model, session, request)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _compare_memory(arguments: argparse.Namespace) -> None:
    few, many = 2, arguments.steps
    runs = [(method, steps) for steps in (few, many) for method in ("plain", "attn")]
    runs += [("explicit", few), ("explicit", 5)] if arguments.explicit else []
    base = 0.0
    for method, steps in runs:
        command = [sys.executable, "-m", "benchmarks.cost", arguments.model]
        command += ["--peak-of", method, "--steps", str(steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=ALLOCATOR)
        peak = json.loads(done.stdout.splitlines()[-1])
        base = peak if method == "plain" else base
        print(
            f"{method:>9} {steps:3} steps   peak {peak:7.0f} MB"
            f"   {peak - base:+7.0f} MB against plain"
        )


if __name__ == "__main__":
    main()
