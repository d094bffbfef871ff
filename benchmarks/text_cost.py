"""Memory, time and disk of capturing a model that writes text, against the same run without.

    python -m benchmarks.text_cost [--shape small|large] [--steps 16 128] [--rounds 3] [--memory]

The model has MMaDA's layout with random weights: `small` 8 layers of 8 heads of 32 channels, which
writes 128 tokens in blocks of 32; `large` 8 layers of 32 heads of 128 channels, as LLaDA-8B has
them, which writes 488 tokens in one block, of 510 positions together (5 GB of memory; name few
steps, such as `--steps 1 3 --rounds 1`).

Without `--memory` the two methods take turns in one process, each a whole run with loading, and
ratios are taken pair by pair; the last line is of a step, from the least and the most steps, so
without what a run takes once. With `--memory` every run has a process of its own, and their peaks
are compared. Both check that the tokens are the same.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.backends import find, load
from attn.demo import language
from attn.schema import Level, Request
from attn.verbs.capture.capture import capture
from benchmarks.cost import ALLOCATOR


@dataclass(frozen=True)
class Shape:
    """A model, and how much it writes."""

    sizes: language.Sizes
    written: int
    block: int

    @property
    def options(self) -> dict[str, int]:
        """Options of the family."""
        return {"gen_length": self.written, "block_length": self.block}


SHAPES = {
    "small": Shape(language.Sizes(width=256, inner=640, heads=8, layers=8), 128, 32),
    "large": Shape(language.Sizes(width=4096, inner=4096, heads=32, layers=8), 488, 488),
}
POSITIONS = 512
PROMPT = "a red cat sits on a blue chair"

Run = tuple[list[int], int]
"""The tokens that were written, and the bytes of `attention/`."""


def plain(model: Path, shape: Shape, steps: int) -> Run:
    """Write a text without capture."""
    family = load(find("mmada"))
    session = family.open(model, family.Options(**shape.options))
    output = session.generate([session.complete(Request(PROMPT, steps=steps))], None)[0]
    return [token.id for token in output.tokens[0]], 0


def attn(model: Path, shape: Shape, steps: int, keep: Level = "maps") -> Run:
    """Write a text with capture, as `attn capture` does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = {name: str(number) for name, number in shape.options.items()}
        kept: Any = {"keep": keep, "budget": "100GB", "settings": settings}
        trace = capture("mmada", PROMPT, model=model, steps=steps, out=out, **kept).trace
        written = [token.id for token in trace.tokens() if token.segment == "generated"]
        return written, sum(shard.bytes for shard in trace.manifest.shards)


METHODS: dict[str, Callable[[Path, Shape, int], Run]] = {"plain": plain, "attn": attn}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="small")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    if arguments.peak_of:
        method, model = arguments.peak_of
        print(json.dumps(_peak(method, Path(model), shape, arguments.steps[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        save(model, shape)
        if arguments.memory:
            for steps in arguments.steps:
                _compare_memory(model, arguments.shape, steps)
        else:
            _compare_times(model, shape, sorted(arguments.steps), arguments.rounds)


def save(model: Path, shape: Shape) -> None:
    """Save a model that has room for all positions."""
    language.save(model, language.random_weights(0, shape.sizes), shape.sizes)
    config = json.loads((model / "config.json").read_text())
    config["max_sequence_length"] = POSITIONS
    (model / "config.json").write_text(json.dumps(config))


def _compare_times(model: Path, shape: Shape, counts: list[int], rounds: int) -> None:
    for method in METHODS.values():  # the first of each also imports
        method(model, shape, counts[0])
    medians = [_compare_time(model, shape, steps, rounds) for steps in counts]
    if len(counts) > 1:
        between = counts[-1] - counts[0]
        plain, attn = ((medians[-1][name] - medians[0][name]) / between for name in METHODS)
        print(f"   a step   plain {plain:.3f} s   attn {attn:.3f} s   x{attn / plain:.3f}")


def _compare_time(model: Path, shape: Shape, steps: int, rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    runs: dict[str, Run] = {}
    for _ in range(rounds):
        for name, method in METHODS.items():
            began = time.process_time()
            runs[name] = method(model, shape, steps)
            seconds[name].append(time.process_time() - began)
    ratios = [a / b for a, b in zip(seconds["attn"], seconds["plain"], strict=True)]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{steps:4} steps   plain {medians['plain']:.2f} s   attn {medians['attn']:.2f} s of the "
        f"processor   x{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        f"   {runs['attn'][1] / 1e6:.1f} MB on disk   {_verdict(runs)}"
    )
    return medians


def _compare_memory(model: Path, shape: str, steps: int) -> None:
    runs: dict[str, Any] = {}
    for name in METHODS:
        command = [sys.executable, "-m", "benchmarks.text_cost", "--steps", str(steps)]
        command += ["--shape", shape, "--peak-of", name, str(model)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=ALLOCATOR)
        runs[name] = json.loads(done.stdout.splitlines()[-1])
    peaks = {name: run["peak"] for name, run in runs.items()}
    print(
        f"{steps:4} steps   plain {peaks['plain']:.0f} MB   attn {peaks['attn']:.0f} MB   "
        f"{peaks['attn'] - peaks['plain']:+.1f} MB   {runs['attn']['bytes'] / 1e6:.1f} MB on disk"
        f"   {_verdict({name: (run['tokens'], run['bytes']) for name, run in runs.items()})}"
    )


def _peak(method: str, model: Path, shape: Shape, steps: int) -> dict[str, Any]:
    tokens, written = METHODS[method](model, shape, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak": peak, "tokens": tokens, "bytes": written}


def _verdict(runs: dict[str, Run]) -> str:
    return "same text" if runs["plain"][0] == runs["attn"][0] else "another text"


if __name__ == "__main__":
    main()
