"""Memory of a process that does nothing but compare the first pairs of two collections.

    python -m benchmarks.compare_peak BASE VARIANT OUT PAIRS

Prints the peak in KiB: not that of `getrusage`, which a process takes over from the one that starts
it, and without what generating needs, which is why `benchmarks.compare_cost` starts it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from attn.analysis.compare.pairs import PairOptions
from attn.verbs.compare.pairing import open_runs
from attn.verbs.compare.results import ComparedSources, compare_runs
from attn.verbs.report import Report


def main(base: Path, variant: Path, out: Path, pairs: int) -> None:
    """Compare, and print the peak of memory of this process."""
    runs = [replace(run, members=run.members[:pairs]) for run in open_runs([base, variant])]
    options, sources = PairOptions(), ComparedSources()
    compare_runs(runs, options, None, out, pictures=False, report=Report(), sources=sources)
    print(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
