"""What `attn analyze` and `attn compare` cost per trace of a large collection.

Tiny traces, so that what is measured is the program and not the arrays:

    python -m benchmarks.many_traces            # 500 and 5,000 traces
    python -m benchmarks.many_traces 100 1000
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

VERBS = {
    "analyze": "from attn.verbs.analyze.analyze import analyze\n"
    "analyze(sys.argv[1], pictures=False, report=Report())",
    "compare": "from attn.verbs.compare.compare import compare\n"
    "compare(*sys.argv[1:3], out=sys.argv[3], pictures=False, report=Report())",
}
PROBE = """
import resource, sys, time
from attn.verbs.report import Report
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


def measure(verb: str, base: Path, variant: Path, results: Path) -> Cost:
    """Run a verb in a process of its own; of `compare` a trace is a pair."""
    code = PROBE.format(call=VERBS[verb])
    command = [sys.executable, "-c", code, str(base), str(variant), str(results)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, kib = map(float, done.stdout.split()[-2:])
    return Cost(seconds, kib)


def main(few: int = 500, many: int = 5000) -> None:
    """Print milliseconds and kilobytes per trace, at two sizes of a collection."""
    from tests.helpers.toy_traces import write_collection

    sizes = (1, few, many)
    costs: dict[str, list[Cost]] = {verb: [] for verb in VERBS}
    for size in sizes:
        with TemporaryDirectory() as index:
            folders = [Path(index, name) for name in ("base", "variant")]
            for seed, folder in enumerate(folders):
                write_collection(folder, range(size), seed=seed * many)
            for verb in VERBS:
                costs[verb].append(measure(verb, *folders, Path(index, f"{verb}-results")))
    print(f"{'verb':8} {'traces':>7} {'ms/trace':>9} {'KB/trace':>9} {'peak MB':>8}")
    for verb, (start, *others) in costs.items():
        for size, cost in zip(sizes[1:], others, strict=True):
            time = 1e3 * (cost.seconds - start.seconds) / (size - 1)
            memory = 1.024 * (cost.kib - start.kib) / (size - 1)
            print(f"{verb:8} {size:7} {time:9.1f} {memory:9.2f} {cost.kib * 1.024e-3:8.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
