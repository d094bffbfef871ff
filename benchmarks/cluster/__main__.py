"""What the engine of many workers costs: `python -m benchmarks.cluster [--engine local|ray]`.

Workers have a stub in the place of a model, which sleeps for a stated time and then generates: a
real capture, with real small shards, of some tens of milliseconds. What an item takes beyond the
sleep is the engine, the capture, and that cores are shared; sleep is long against the processor
time of eight workers, so that two cores can stand for eight machines.

    scaling   as many items for each worker, at 1, 2, 4 and 8 workers: time of an item and worker,
              from when every worker has made its first; the efficiency against one worker
    many      one shard of a run of 100,000 items, by eight workers that do not sleep: time to plan,
              memory of the driver, time of an item, and time of the same command once more

It takes some four minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cluster.stub import SLEEP, write_plugin

ROOT = Path(__file__).parents[2]
WORKERS = (1, 2, 4, 8)
PROBE = """
import json, sys, time
from pathlib import Path
import attn
from attn.verbs.report import Report

class Times(Report):
    def __init__(self):
        super().__init__()
        self.at = []
    def items(self, counts):
        self.at.append((time.monotonic(), counts.done + counts.failed))

report, given = Times(), json.loads(sys.argv[1])
began, busy = time.monotonic(), time.process_time()
done = attn.capture("stub", "a red cat", model="demo", size=(24, 16), steps=2, keep="mass",
                    seed=range(given.pop("items")), report=report, resume=True, **given)
assert not done.failures, done.failures
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({"at": report.at, "began": began, "ended": time.monotonic(),
                  "busy": time.process_time() - busy, "peak": peak * 1.024e-3,
                  "made": len(done.entries)}))
"""


def measure(place: Path, sleep: float, **options: object) -> dict[str, object]:
    """Run a capture in a process of its own; return its times and the memory of the driver."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(place / "plugin")]),
        "OMP_NUM_THREADS": "1",
        SLEEP: str(sleep),
    }
    command = [sys.executable, "-c", PROBE, json.dumps(options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def scale(place: Path, engine: str, seconds: float, items: int) -> None:
    """Print what an item takes at several numbers of workers."""
    print(f"items that sleep {seconds:g} s, {items} for each worker, engine {engine}")
    print(f"{'workers':>8} {'s/item':>8} {'beyond sleep':>13} {'efficiency':>11} {'driver MB':>10}")
    alone = None
    for workers in WORKERS:
        out = str(place / f"scale-{workers}")
        run = measure(
            place, seconds, out=out, engine=engine, workers=workers, items=items * workers
        )
        first = next(at for at, done in run["at"] if done >= workers)
        taken = (run["at"][-1][0] - first) / (items - 1)
        alone = alone or taken
        print(
            f"{workers:8} {taken:8.3f} {taken / seconds - 1:13.1%} {alone / taken:11.1%} "
            f"{run['peak']:10.0f}",
            flush=True,
        )


def plan_many(place: Path, engine: str, many: int, made: int) -> None:
    """Print what a shard of a run of very many items takes."""
    options = {
        "out": str(place / "many"),
        "engine": engine,
        "workers": max(WORKERS),
        "items": many,
        "shard": f"1/{many // made}",
    }
    run = measure(place, 0.0, **options)
    start = run["at"][0][0]
    again = measure(place, 0.0, **options)
    count = run["made"]
    print(f"a shard of {count:,} of {many:,} items, {max(WORKERS)} workers that do not sleep")
    print(f"  to plan all items          {start - run['began']:8.1f} s")
    print(f"  an item, wall              {1e3 * (run['ended'] - start) / count:8.1f} ms")
    print(f"  driver, processor          {run['busy']:8.1f} s in all")
    print(f"  driver, peak memory        {run['peak']:8.0f} MB")
    print(f"  the same command again     {again['ended'] - again['began']:8.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--seconds", type=float, default=2.0, help="that an item sleeps")
    parser.add_argument("--items", type=int, default=8, help="for each worker")
    parser.add_argument("--many", type=int, default=100_000, help="items of the large run")
    parser.add_argument("--made", type=int, default=1_000, help="items of it that are made")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="attn-cluster-") as folder:
        write_plugin(Path(folder, "plugin"))
        if given.items > 1:
            scale(Path(folder), given.engine, given.seconds, given.items)
        if given.many:
            plan_many(Path(folder), given.engine, given.many, given.made)
