"""Memory, time and disk of capturing a model that writes text, against the same run without.

    python -m benchmarks.text_cost [--steps 16 128] [--rounds 3] [--memory]

The model has MMaDA's layout with 8 layers of 8 heads and random weights, and writes 128 tokens in
blocks of 32. Without `--memory` the two methods take turns in one process, each a whole run with
loading, and ratios are taken pair by pair; with it every run has a process of its own, and their
peaks are compared. Both check that the tokens are the same.
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
from pathlib import Path
from typing import Any

from attn.backends import find, load
from attn.demo import language
from attn.schema import Request
from attn.verbs.capture.capture import capture
from benchmarks.cost import ALLOCATOR

SIZES = language.Sizes(width=256, inner=640, heads=8, layers=8)
PROMPT = "a red cat sits on a blue chair"

Run = tuple[list[int], int]
"""The tokens that were written, and the bytes of `attention/`."""


def plain(model: Path, steps: int) -> Run:
    """Write a text without capture."""
    family = load(find("mmada"))
    session = family.open(model, family.Options())
    output = session.generate([session.complete(Request(PROMPT, steps=steps))], None)[0]
    return [token.id for token in output.tokens[0]], 0


def attn(model: Path, steps: int) -> Run:
    """Write a text with the default capture, as `attn capture` does."""
    with tempfile.TemporaryDirectory() as folder:
        trace = capture("mmada", PROMPT, model=model, steps=steps, out=Path(folder) / "run").trace
        written = [token.id for token in trace.tokens() if token.segment == "generated"]
        return written, sum(shard.bytes for shard in trace.manifest.shards)


METHODS: dict[str, Callable[[Path, int], Run]] = {"plain": plain, "attn": attn}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        method, model = arguments.peak_of
        print(json.dumps(_peak(method, Path(model), arguments.steps[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        language.save(model, language.random_weights(0, SIZES), SIZES)
        for steps in arguments.steps:
            if arguments.memory:
                _compare_memory(model, steps)
            else:
                _compare_time(model, steps, arguments.rounds)


def _compare_time(model: Path, steps: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    runs: dict[str, Run] = {}
    for _ in range(rounds + 1):  # the first of each also imports
        for name, method in METHODS.items():
            began = time.process_time()
            runs[name] = method(model, steps)
            seconds[name].append(time.process_time() - began)
    ratios = [a / b for a, b in zip(seconds["attn"][1:], seconds["plain"][1:], strict=True)]
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    print(
        f"{steps:4} steps   plain {medians['plain']:.2f} s   attn {medians['attn']:.2f} s of the "
        f"processor   x{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        f"   {runs['attn'][1] / 1e6:.1f} MB on disk   {_verdict(runs)}"
    )


def _compare_memory(model: Path, steps: int) -> None:
    runs: dict[str, Any] = {}
    for name in METHODS:
        command = [sys.executable, "-m", "benchmarks.text_cost", "--steps", str(steps)]
        command += ["--peak-of", name, str(model)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=ALLOCATOR)
        runs[name] = json.loads(done.stdout.splitlines()[-1])
    peaks = {name: run["peak"] for name, run in runs.items()}
    print(
        f"{steps:4} steps   plain {peaks['plain']:.0f} MB   attn {peaks['attn']:.0f} MB   "
        f"{peaks['attn'] - peaks['plain']:+.1f} MB   {runs['attn']['bytes'] / 1e6:.1f} MB on disk"
        f"   {_verdict({name: (run['tokens'], run['bytes']) for name, run in runs.items()})}"
    )


def _peak(method: str, model: Path, steps: int) -> dict[str, Any]:
    tokens, written = METHODS[method](model, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak, "tokens": tokens, "bytes": written}


def _verdict(runs: dict[str, Run]) -> str:
    return "same text" if runs["plain"][0] == runs["attn"][0] else "another text"


if __name__ == "__main__":
    main()
