"""What `attn analyze` and `attn compare` cost per trace of a large collection.

Tiny traces, so that what is measured is the program and not the arrays. Processor time and memory
of processes with one thread, those of the two programs in turn:

    python -m benchmarks.many_traces                     # 500 and 5,000 traces
    python -m benchmarks.many_traces 50 500
    python -m benchmarks.many_traces 50 500 --against DIR    # beside a checkout of another commit
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

HERE = Path(__file__).parents[1]
VERBS = {
    "analyze": "attn.analyze(sys.argv[1], pictures=False)",
    "compare": "attn.compare(*sys.argv[1:3], out=sys.argv[3], pictures=False)",
}
PROBE = """
import logging, resource, sys, time
import attn
logging.disable()
began = time.process_time()
{call}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - began, peak)
"""


@dataclass(frozen=True)
class Cost:
    """Processor seconds, and the largest resident memory in KiB."""

    seconds: float
    kib: float


def measure(checkout: Path, verb: str, base: Path, variant: Path, results: Path) -> Cost:
    """Run a verb in a process of its own; of `compare` a trace is a pair."""
    code = PROBE.format(call=VERBS[verb])
    command = [sys.executable, "-c", code, str(base), str(variant), str(results)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=checkout
    )
    seconds, kib = map(float, done.stdout.split()[-2:])
    return Cost(seconds, kib)


def main(few: int, many: int, checkouts: dict[str, Path]) -> None:
    """Print milliseconds and kilobytes per trace, at two sizes of a collection."""
    from tests.helpers.toy_traces import write_collection

    sizes = (1, few, many)
    costs: dict[tuple[str, str], list[Cost]] = {
        (verb, name): [] for verb in VERBS for name in checkouts
    }
    for size in sizes:
        with TemporaryDirectory() as index, patch("os.fsync"):  # these traces are for once
            folders = [Path(index, name) for name in ("base", "variant")]
            for seed, folder in enumerate(folders):
                write_collection(folder, range(size), seed=seed * many)
            for (verb, name), measured in costs.items():
                results = Path(index, f"{verb}-{name}")
                measured.append(measure(checkouts[name], verb, *folders, results))
    print(f"{'verb':8} {'of':8} {'traces':>7} {'ms/trace':>9} {'KB/trace':>9} {'peak MB':>8}")
    for (verb, name), (start, *others) in costs.items():
        for size, cost in zip(sizes[1:], others, strict=True):
            time = 1e3 * (cost.seconds - start.seconds) / (size - 1)
            memory = 1.024 * (cost.kib - start.kib) / (size - 1)
            peak = cost.kib * 1.024e-3
            print(f"{verb:8} {name:8} {size:7} {time:9.1f} {memory:9.2f} {peak:8.1f}")
    for verb in VERBS if len(checkouts) > 1 else ():
        spent = [costs[verb, name][-1].seconds - costs[verb, name][0].seconds for name in checkouts]
        print(f"{verb}: {spent[0] / spent[1]:.2f} of the time of the other checkout")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_traces")
    parser.add_argument("few", nargs="?", type=int, default=500)
    parser.add_argument("many", nargs="?", type=int, default=5000)
    parser.add_argument("--against", type=Path, help="checkout of another commit")
    given = parser.parse_args()
    other = {"against": given.against.resolve()} if given.against else {}
    main(given.few, given.many, {"this": HERE} | other)
