"""Time and memory of a comparison against the time of generating what is compared.

    python -m benchmarks.compare_cost [--seeds 16] [--steps 5] [--keep means] [--out FOLDER]

Generates a baseline and a variant with the SDXL-shaped model of `benchmarks.networks.shapes` (70
cross-attention layers, 512x512) through `attn.capture`, 16 seeds each; the variant has a stronger
guidance, so that everything differs. Then both are compared with `attn.compare`, all tables and no
pictures. Times are those of the processor (all threads), so that a busy machine does not decide.
Memory is the peak of a process that does nothing but compare, with all pairs and with the fewest
that have intervals.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attn.analysis.compare.paired import FEWEST
from attn.backends.types import Session
from attn.verbs.capture.capture import capture
from attn.verbs.compare.compare import compare
from benchmarks.cost import ALLOCATOR
from benchmarks.networks import shapes

GUIDANCES = {"base": 5.0, "variant": 7.0}
PEAK = """
import re, sys
from pathlib import Path
import attn
attn.compare(*sys.argv[1:3], out=sys.argv[3], pictures=False)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
"""Not `getrusage`, whose peak a process takes over from the one that starts it."""


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--keep", default="means")
    parser.add_argument("--out", type=Path, help="keep the traces here")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        measure(arguments, arguments.out or Path(scratch))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Generate, compare, and print what each took."""
    session = shapes.sdxl()
    plan = {"steps": arguments.steps, "keep": arguments.keep, "size": (512, 512)}
    generate(session, folder / "warm-up", seed=0, **plan | {"steps": 1})
    generating = 0.0
    for name, guidance in GUIDANCES.items():
        seeds = range(arguments.seeds)
        generating += generate(session, folder / name, seed=seeds, guidance=guidance, **plan)
    runs = [folder / name for name in GUIDANCES]
    began = time.process_time()
    compare(*runs, out=folder / "compared", pictures=False)
    comparing = time.process_time() - began
    traces = f"2 x {arguments.seeds} traces of {arguments.steps} steps, keep {arguments.keep}"
    print(f"{traces}: generated in {generating:.1f} s, compared in {comparing:.2f} s")
    print(f"comparing takes {comparing / generating:.2%} of generating, in processor time")
    few = [folder / f"{name}-few" for name in GUIDANCES]
    for out, guidance in zip(few, GUIDANCES.values(), strict=True):
        generate(session, out, seed=range(FEWEST), guidance=guidance, **plan)
    for pairs, compared in ((FEWEST, few), (arguments.seeds, runs)):
        megabytes = peak(compared, folder / f"peak-{pairs}")
        print(f"peak memory of comparing {pairs} pairs: {megabytes:.0f} MB")


def generate(session: Session, out: Path, **plan: Any) -> float:
    """Capture, and return the processor time in seconds."""
    began = time.process_time()
    pipe = session.pipe  # type: ignore[attr-defined]
    capture("sdxl", shapes.PROMPT, model=pipe, out=out, **plan)
    return time.process_time() - began


def peak(runs: list[Path], out: Path) -> float:
    """Return the peak of memory of a process that compares two runs, in MB."""
    command = [sys.executable, "-c", PEAK, *map(str, (*runs, out))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ALLOCATOR)
    return int(done.stdout.splitlines()[-1]) / 1024


if __name__ == "__main__":
    main()
