"""What `attn analyze` and `attn compare` cost per trace of a large collection.

Tiny traces, so that what is measured is the program and not the arrays. Processor time and memory
of processes with one thread, those of the two programs in turn:

    python -m benchmarks.many_traces                     # 500 and 5,000 traces
    python -m benchmarks.many_traces 50 500
    python -m benchmarks.many_traces 50 500 --against DIR    # beside a checkout of f952691

Each program has traces of its own, so that none finds the results of another. Nothing is removed
before all is measured: ext4 takes longer to make a file for minutes after many were removed. Beside
f952691 it is also measured without what that commit does not make: see `ALIKE`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
import logging, resource, sys, time
import attn
logging.disable()
{first}
began = time.process_time()
{call}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - began, peak)
"""


@dataclass(frozen=True)
class Program:
    """A checkout, and what its processes do first."""

    checkout: Path
    first: str = ""


@dataclass(frozen=True)
class Cost:
    """Processor seconds, and the largest resident memory in KiB."""

    seconds: float
    kib: float


def measure(program: Program, verb: str, folder: Path) -> Cost:
    """Run a verb in a process of its own; of `compare` a trace is a pair."""
    code = PROBE.format(call=VERBS[verb], first=program.first)
    paths = [str(folder / name) for name in ("base", "variant", verb)]
    command = [sys.executable, "-c", code, *paths]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(program.checkout)}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=program.checkout
    )
    seconds, kib = map(float, done.stdout.split()[-2:])
    return Cost(seconds, kib)


def prepare(size: int, many: int, folders: Sequence[Path]) -> None:
    """Write two runs of so many traces into each folder."""
    from tests.helpers.toy_traces import write_collection

    first, *others = folders
    with patch("os.fsync"):  # these traces are for once
        for seed, side in enumerate(("base", "variant")):
            write_collection(first / side, range(size), seed=seed * many)
    for other in others:
        shutil.copytree(first, other)


def main(few: int, many: int, programs: dict[str, Program]) -> None:
    """Print milliseconds and kilobytes per trace, at two sizes of a collection."""
    sizes = (1, few, many)
    costs: dict[tuple[str, str], list[Cost]] = {
        (verb, name): [] for verb in VERBS for name in programs
    }
    with TemporaryDirectory() as folder:
        for size in sizes:
            prepare(size, many, [Path(folder, str(size), name) for name in programs])
            for (verb, name), measured in costs.items():
                measured.append(measure(programs[name], verb, Path(folder, str(size), name)))
    print(f"{'verb':8} {'of':8} {'traces':>7} {'ms/trace':>9} {'KB/trace':>9} {'peak MB':>8}")
    for (verb, name), (start, *others) in costs.items():
        for size, cost in zip(sizes[1:], others, strict=True):
            time = 1e3 * (cost.seconds - start.seconds) / (size - 1)
            memory = 1.024 * (cost.kib - start.kib) / (size - 1)
            peak = cost.kib * 1.024e-3
            print(f"{verb:8} {name:8} {size:7} {time:9.1f} {memory:9.2f} {peak:8.1f}")
    for verb, name in [of for of in costs if AGAINST in programs and of[1] != AGAINST]:
        spent, other = (
            costs[verb, of][-1].seconds - costs[verb, of][0].seconds for of in (name, AGAINST)
        )
        print(f"{verb} of {name}: {spent / other:.2f} of the time of the other checkout")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_traces")
    parser.add_argument("few", nargs="?", type=int, default=500)
    parser.add_argument("many", nargs="?", type=int, default=5000)
    parser.add_argument("--against", type=Path, help="checkout of another commit")
    given = parser.parse_args()
    programs = {"this": Program(HERE)}
    if given.against:
        programs |= {"alike": Program(HERE, ALIKE), AGAINST: Program(given.against.resolve())}
    main(given.few, given.many, programs)
