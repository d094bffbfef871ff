"""Capture beside attention-map-diffusers, in one run: layers seen, picture, error, time, memory.

    python -m benchmarks.peers layers [--models flux,sd35,…]
    python -m benchmarks.peers cost sdxl|sd3 [--steps 3] [--rounds 5]

attention-map-diffusers is installed by pip into a folder of its own, and used as its README says,
with every step kept (`timesteps="all"`) and its guard of bytes lifted. `layers` draws a picture
with each demo, and says of how many layers that read words from the picture each tool has maps,
whether the picture is the plain one's bit for bit, and how far the last step's maps, averaged over
heads, are from a float64 softmax. `cost` times whole generations in turns, pair by pair beside
plain ones, until maps are there: of `fast` with its `compute()`, of `attn` with every file on disk;
and takes the peak of memory of one process for each tool and number of steps.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attn import capture, tap
from attn.backends import find, load
from attn.backends.types import Placement, Session
from attn.engine.attention import Attention
from attn.schema import Request
from benchmarks import cost
from benchmarks.cost import ALLOCATOR

PEER = "attention-map-diffusers==1.0.0"
MODELS = ("sd15", "sdxl", "sd35", "flux", "z-image")
"""Demos of families that both know."""
PROMPT = "a red circle left of a blue square on a white background"
Maps = Mapping[str, np.ndarray]
"""By the path of the layer, (query, key) of the last step, averaged over heads."""


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    layers = verbs.add_parser("layers")
    layers.add_argument("--models", default=",".join(MODELS))
    layers.set_defaults(run=_layers)
    costs = verbs.add_parser("cost")
    costs.add_argument("model", choices=tuple(cost.TEXT_KEYS))
    costs.add_argument("--steps", type=int, default=3)
    costs.add_argument("--rounds", type=int, default=5)
    costs.add_argument("--peak-of", help=argparse.SUPPRESS)
    costs.set_defaults(run=_cost)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, _install(Path(folder)))
        arguments.run(arguments)


def _install(folder: Path) -> str:
    """Install the peer beside nothing else; torch and diffusers are those of this environment."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, PEER], check=True)
    return str(folder)


def _peer(pipe: Any, mode: str) -> Any:
    package = importlib.import_module("attention_map_diffusers")
    return package.AttentionCapture(
        pipe, timesteps="all", mode=mode, max_capture_bytes=None, allow_large_maps=True
    )


def _layers(arguments: argparse.Namespace) -> None:
    print(f"{PEER}, torch {torch.__version__}\n")
    print("| model | layers that read words | tool | of them seen | picture | error of maps |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models.split(","):
        backend = load(find(name))
        session: Any = backend.open("demo", backend.Options(), Placement("cpu"))
        request = session.complete(Request(PROMPT, steps=2, guidance=1.0))
        plain = _picture(session, request)
        truth, ours, paths, picture = _attn(name, session, request)
        _say(name, len(paths), "attn", ours, truth, np.array_equal(picture, plain))
        with _peer(session.pipe, "fast") as watched:
            picture = _picture(session, request)
        watched.compute()
        _say(
            name,
            len(paths),
            PEER,
            _last(watched.records, truth),
            truth,
            np.array_equal(picture, plain),
        )


def _picture(session: Session, request: Request) -> np.ndarray:
    return np.asarray(session.generate([request], None)[0].images[0])


def _attn(name: str, session: Any, request: Request) -> tuple[Maps, Maps, set[str], np.ndarray]:
    """Return a float64 softmax and our maps of what reads words, their paths, and the picture."""
    with tempfile.TemporaryDirectory() as folder:
        trace = capture(
            name,
            request.prompt,
            model=session.pipe,
            out=f"{folder}/run",
            steps=request.steps,
            guidance=request.guidance,
        ).trace
        paths = {layer.path for layer in trace.layers if "image.text" in layer.blocks}
    truth: dict[str, np.ndarray] = {}
    ours: dict[str, np.ndarray] = {}

    def see(path: str, attention: Attention) -> None:
        query, key, _ = attention.factors()
        every, heads = slice(None), range(query.shape[1])
        ratio = query.shape[1] // key.shape[1]
        mask = attention.row_mask(0)
        logits = torch.stack(
            [query[0, h].double() @ key[0, h // ratio].double().mT * attention.scale for h in heads]
        )
        logits = logits if mask is None else logits + mask
        truth[path] = logits.softmax(-1).mean(0).numpy()
        ours[path] = attention.probs(0, every, every, every).mean(0).numpy()

    towers = session.towers()
    tapped: Any = tap(towers["denoiser"], layers=sorted(paths), keep="mass", see=see)
    with tapped:
        picture = _picture(session, request)
    return truth, {path: ours[path] for path in paths}, paths, picture


def _last(records: list[Any], truth: Maps) -> Maps:
    """Return the maps of the last step, of the first row of the batch, where they belong."""
    last = {record.layer_id.split(".", 1)[1]: record for record in records}
    maps = {}
    for path, record in last.items():
        whole = np.full_like(truth[path], np.nan)
        whole[slice(*record.q_range), slice(*record.k_range)] = record.data[0, 0].double()
        maps[path] = whole
    return maps


def _say(name: str, there: int, tool: str, maps: Maps, truth: Maps, same: bool) -> None:
    errors = [np.nanmax(np.abs(maps[path] - truth[path])) for path in maps]
    picture = "same bits" if same else "another"
    print(
        f"| {name} | {there} | {tool} | {len(maps)} | {picture} | {max(errors):.1e} |", flush=True
    )


def _watched(mode: str, model: str, session: Session, request: Request) -> np.ndarray:
    with _peer(session.pipe, mode) as watched:  # type: ignore[attr-defined]
        picture = cost.plain(model, session, request)
    watched.compute()
    return picture


METHODS: dict[str, Callable[[str, Session, Request], np.ndarray]] = {
    "plain": cost.plain,
    "attn": cost.attn,
    "fast": partial(_watched, "fast"),
    "exact": partial(_watched, "exact"),
}


def _cost(arguments: argparse.Namespace) -> None:
    model, steps = arguments.model, arguments.steps
    if arguments.peak_of:
        METHODS[arguments.peak_of](model, *cost.prepare(model, steps))
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
        return
    # first of all: the peak of a process is never below that of the one that started it
    peaks = {name: [_peak(model, name, count) for count in (steps, 3 * steps)] for name in METHODS}
    session, request = cost.prepare(model, steps)
    pictures = {name: run(model, session, request) for name, run in METHODS.items()}
    ratios: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(arguments.rounds):
        seconds = {name: _seconds(run, model, session, request) for name, run in METHODS.items()}
        for name in METHODS:
            ratios[name].append(seconds[name] / seconds["plain"])
    print(f"{model}, {steps} steps, {torch.get_num_threads()} threads, {PEER}")
    for name in METHODS:
        same = np.array_equal(pictures[name], pictures["plain"])
        low, high = min(ratios[name]), max(ratios[name])
        print(
            f"{name:>6}  x{statistics.median(ratios[name]):.3f} ({low:.3f} to {high:.3f})"
            f"  {'same picture' if same else 'another picture'}"
            f"  peak {peaks[name][0]:.0f} MB, of three times the steps {peaks[name][1]:.0f} MB",
            flush=True,
        )


def _seconds(
    run: Callable[[str, Session, Request], np.ndarray],
    model: str,
    session: Session,
    request: Request,
) -> float:
    began = time.process_time()
    run(model, session, request)
    return time.process_time() - began


def _peak(model: str, method: str, steps: int) -> float:
    command = [sys.executable, "-m", "benchmarks.peers", "cost", model, "--peak-of", method]
    done = subprocess.run(
        [*command, "--steps", str(steps)],
        check=True,
        capture_output=True,
        text=True,
        env=ALLOCATOR,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
