"""What `attn analyze` and `attn compare` cost per trace of a large collection.

Tiny traces, so that what is measured is the program and not the arrays. Seconds of the processor
and by the clock, and memory, of processes with one thread, those of the programs in turn:

    python -m benchmarks.many_traces                     # 500 and 5,000 traces
    python -m benchmarks.many_traces 50 500
    python -m benchmarks.many_traces 50 500 --rounds 5 --against DIR    # a checkout of f952691

Each program has new traces in each round, so that none finds the results of another, and begins
when what was written before is on the disk. Nothing is removed before all is measured: ext4 takes
longer to make a file for minutes after many were removed. Beside f952691 it is also measured
without what that commit does not make: see `ALIKE`. Of several rounds the median is printed, with
the least and the most.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

HERE = Path(__file__).parents[1]
AGAINST = "against"
VERBS = {
    "analyze": "attn.analyze(sys.argv[1], pictures=False)",
    "compare": "attn.compare(*sys.argv[1:3], out=sys.argv[3], pictures=False)",
}
ALIKE = """
import numpy as np
import attn.analysis.compare.agreement as agreement
import attn.analysis.compare.change_tables as tables
import attn.analysis.compare.pairs as pairs
import attn.analysis.words.words as words
import attn.verbs.analyze.traces as traces
import attn.verbs.compare.answer as answer
import attn.verbs.compare.results as results

pairs.compare_image_pairs = lambda *both: (None, "")
pairs.coarsen = lambda maps: np.zeros((*maps.shape[:2], 1, 1))
agreement.find_differences = lambda *both: ()
answer._tell_pairs = lambda *told: iter(())
whole = tables.PARTS.pop("words")
tables.PARTS["words"] = lambda *of: {
    name: table for name, table in whole(*of).items() if name != "mass_pairs.csv"
}
tables._difference = lambda *of: {"row": np.zeros(1)}
results._write_page = lambda *of: "report.html"
traces.report_trace = lambda *of: ""
traces.small_tables = lambda *of: {}
words._tell_best = lambda *of: ""
words.tabulate_places = lambda *of: {}
"""
"""Leaves out what f952691 does not make: differences of images and of settings, where maps differ,
tables of pairs and places, the best layer, pages."""
PROBE = """
import logging, sys, time
from pathlib import Path
import attn
logging.disable()
{first}
began, clock = time.process_time(), time.perf_counter()
{call}
spent, passed = time.process_time() - began, time.perf_counter() - clock
told = Path("/proc/self/status").read_text()
print(spent, passed, told.partition("VmHWM:")[2].split()[0])
"""


@dataclass(frozen=True)
class Program:
    """A checkout, and what its processes do first."""

    checkout: Path
    first: str = ""


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor and by the clock, and the largest resident memory in KiB.

    That of Linux' own count: `getrusage` also counts what the process that started this one has.
    """

    processor: float
    clock: float
    kib: float


Costs = dict[tuple[str, str, int], list[Cost]]
"""Of each round, by verb, name of the program, and number of traces."""


def measure(program: Program, verb: str, folder: Path) -> Cost:
    """Run a verb in a process of its own; of `compare` a trace is a pair."""
    code = PROBE.format(call=VERBS[verb], first=program.first)
    paths = [str(folder / name) for name in ("base", "variant", verb)]
    command = [sys.executable, "-c", code, *paths]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(program.checkout)}
    os.sync()  # what was written before is not waited for in what is measured
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=program.checkout
    )
    return Cost(*map(float, done.stdout.split()[-3:]))


def prepare(size: int, many: int, folder: Path) -> None:
    """Write two runs of so many traces."""
    from tests.helpers.toy_traces import write_collection

    with patch("os.fsync"):  # these traces are for once
        for seed, side in enumerate(("base", "variant")):
            write_collection(folder / side, range(size), seed=seed * many)


def run_rounds(sizes: Sequence[int], programs: dict[str, Program], rounds: int) -> Costs:
    """Measure the programs in turn, each round in the other order, with new traces each time."""
    costs: Costs = {}
    with TemporaryDirectory() as folder:
        source = Path(folder, "source")
        for size in sizes:
            prepare(size, max(sizes), source / str(size))
        for number, size in product(range(rounds), sizes):
            goal = Path(folder, str(number), str(size))
            order = list(programs)[:: 1 if number % 2 == 0 else -1]
            for name in order:
                shutil.copytree(source / str(size), goal / name)
            for verb, name in product(VERBS, order):
                cost = measure(programs[name], verb, goal / name)
                costs.setdefault((verb, name, size), []).append(cost)
    return costs


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median of rounds, and what lies between the least and the most."""
    ends = "" if len(values) == 1 else f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
    return f"{median(values):.{digits}f}{ends}"


def per_trace(costs: Costs, of: tuple[str, str, int], field: str) -> list[float]:
    """Return what each further trace takes in each round, beyond what one takes."""
    verb, name, size = of
    pairs = zip(costs[verb, name, 1], costs[of], strict=True)
    return [(getattr(many, field) - getattr(one, field)) / (size - 1) for one, many in pairs]


def main(few: int, many: int, programs: dict[str, Program], rounds: int) -> None:
    """Print milliseconds and kilobytes per trace, at two sizes of a collection."""
    costs = run_rounds((1, few, many), programs, rounds)
    columns = ("processor ms/trace", "clock ms/trace", "KB/trace", "peak MB")
    print(f"{'verb':8} {'of':8} {'traces':>7}  " + "".join(f"{name:22}" for name in columns))
    for verb, name, size in [of for of in costs if of[2] > 1]:
        of = verb, name, size
        cells = [
            spread([1e3 * value for value in per_trace(costs, of, "processor")], 1),
            spread([1e3 * value for value in per_trace(costs, of, "clock")], 1),
            spread([1.024 * value for value in per_trace(costs, of, "kib")], 2),
            spread([1.024e-3 * cost.kib for cost in costs[of]], 1),
        ]
        print(f"{verb:8} {name:8} {size:7}  " + "".join(f"{cell:22}" for cell in cells))
    held = [name for name in programs if AGAINST in programs and name != AGAINST]
    for verb, name in product(VERBS, held):
        for field in ("processor", "clock"):
            pairs = zip(
                per_trace(costs, (verb, name, many), field),
                per_trace(costs, (verb, AGAINST, many), field),
                strict=True,
            )
            ratios = spread([ours / theirs for ours, theirs in pairs], 2)
            print(f"{verb} of {name}: {ratios} of the other checkout, by the {field}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_traces")
    parser.add_argument("few", nargs="?", type=int, default=500)
    parser.add_argument("many", nargs="?", type=int, default=5000)
    parser.add_argument("--against", type=Path, help="checkout of another commit")
    parser.add_argument("--rounds", type=int, default=1, help="how often all is measured")
    given = parser.parse_args()
    programs = {"this": Program(HERE)}
    if given.against:
        programs |= {"alike": Program(HERE, ALIKE), AGAINST: Program(given.against.resolve())}
    main(given.few, given.many, programs, given.rounds)
