"""Time of `attn ablate --scan` against as many plain generations.

    OMP_NUM_THREADS=1 python -m benchmarks.demo.scan_cost [--backend sdxl] [--scan blocks heads]
        [--layers GLOB] [--steps 10] [--seeds 2] [--rounds 3]

Scans a demo model with one caption, one variant for each unit beside the baseline, and draws the
same pictures without any capture before and after each scan. Tells how many times a plain
generation the scan takes for each of its pictures: 1 is what `units x plain` says. Times are those
of the processor; the comparison that follows is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from attn.backends import find, load
from attn.backends.types import Session
from attn.schema import Request
from attn.verbs.ablate.ablate import ablate
from attn.verbs.compare.results import compare_runs

COMPARE = "attn.verbs.ablate.ablate.compare_runs"


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="sdxl")
    parser.add_argument("--scan", nargs="+", default=["blocks", "heads"])
    parser.add_argument("--layers")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    family = load(find(arguments.backend))
    session = family.open("demo", family.Options())
    for scan in arguments.scan:
        measure(session, family.example_prompt, scan, arguments)


def measure(session: Session, prompt: str, scan: str, arguments: argparse.Namespace) -> None:
    """Scan, and print what each picture took."""
    request = session.complete(Request(prompt, steps=arguments.steps))
    plain = partial(session.generate, [request], None)
    plain()
    before = [clock(plain) for _ in range(arguments.rounds)]
    comparing: list[float] = []

    def compare(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        compared = compare_runs(*args, **options)
        comparing.append(time.process_time() - began)
        return compared

    with TemporaryDirectory() as folder, mock.patch(COMPARE, compare):
        began = time.process_time()
        done = ablate(
            *(arguments.backend, prompt),
            model=session.pipe,  # type: ignore[attr-defined]
            scan=scan,
            layers=arguments.layers,
            steps=arguments.steps,
            guidance=request.guidance,
            seed=range(arguments.seeds),
            out=Path(folder) / "scan",
            pictures=False,
        )
        taken = time.process_time() - began - sum(comparing)
    each = statistics.median(before + [clock(plain) for _ in range(arguments.rounds)])
    units = len(done.variants)
    picture = taken / (units + 1) / arguments.seeds
    print(
        f"--scan {scan}: {units} units and the baseline, {arguments.seeds} seeds: {taken:.1f} s, "
        f"of a picture {picture:.3f} s; plain {each:.3f} s: x{picture / each:.3f}; "
        f"comparing {sum(comparing):.1f} s"
    )


def clock(function: Callable[[], object]) -> float:
    """Return the processor's seconds that a call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


if __name__ == "__main__":
    main()
