"""What it takes to plan very many traces: `python -m benchmarks.cluster.plan [N]`.

All is done that `attn capture` does until the first batch begins: prompts are read as the model
reads them, what is kept is decided, the disk is looked at. The model is the smallest built-in one
of SD 1.5; each row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from tempfile import TemporaryDirectory

PROBE = """
import json, sys, time
from pathlib import Path
from unittest.mock import patch
import attn
from attn.verbs.report import Report

out, prompts, seeds, shard = json.loads(sys.argv[1])
texts = [f"a red cat number {number} on a chair" for number in range(prompts)]
how = {"model": "demo", "keep": "mass", "steps": 2, "size": (64, 64), "report": Report()}
attn.capture("sd15", texts[0], out=f"{out}-first", dry_run=True, **how)  # imports, opens
began, busy = time.monotonic(), time.process_time()
with patch("attn.verbs.capture.capture._generate", lambda job, entries, *of: entries):
    done = attn.capture("sd15", texts, seed=range(seeds), out=out, shard=shard, **how)
wall, busy = time.monotonic() - began, time.process_time() - busy
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps([len(done.plans), wall, busy, peak * 1.024e-3]))
"""


def measure(prompts: int, seeds: int, shard: str | None) -> list[float]:
    """Return how many traces were planned, seconds, processor seconds, and peak MB."""
    with TemporaryDirectory(prefix="attn-plan-") as folder:
        given = json.dumps([f"{folder}/run", prompts, seeds, shard])
        command = [sys.executable, "-c", PROBE, given]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.plan")
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    count = parser.parse_args().count
    print(f"{'prompts x seeds':>18} {'shard':>6} {'planned':>8} {'s':>7} {'busy s':>7} {'MB':>6}")
    for prompts in (1, count // 100, count):
        for shard in (None, "1/8"):
            planned, wall, busy, peak = measure(prompts, count // prompts, shard)
            what, of = f"{prompts:,} x {count // prompts:,}", shard or "all"
            print(
                f"{what:>18} {of:>6} {planned:8,.0f} {wall:7.1f} {busy:7.1f} {peak:6.0f}",
                flush=True,
            )
