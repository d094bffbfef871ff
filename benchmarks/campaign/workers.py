"""Kill what makes a run, at seeded moments: a worker, the driver, the node of a Ray cluster.

After every kill the same command is given once more. Then every trace is there once and, bit for
bit, what one process makes; what was complete is untouched, and only batches in work were made
again. Workers have the stub family, which writes real shards.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection
from importlib.util import find_spec
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory

import attn
from attn.backends.plugins.registry import installed
from attn.errors import AttnError
from attn.trace.store import MANIFEST
from attn.verbs.capture.collection import read_index
from attn.verbs.report import Report
from benchmarks.cluster.stub import LOG, SLEEP, write_plugin
from tests.helpers.processes import running
from tests.helpers.toy_runs import contents

ROOT = Path(__file__).parents[2]
ITEMS, FEW = 60, 12
WORKERS, BATCH = 2, 2
KILLS = 30
MARK = "ATTN_CAMPAIGN_OF_WORKERS"
TARGETS = {
    ("local", "worker"): b"attn.verbs.workers.process",
    ("local", "driver"): b"",
    ("ray", "worker"): b"ray::RayMaker",
    ("ray", "driver"): b"",
    ("ray", "raylet"): b"raylet/raylet",
}
"""What is killed, by engine, and what it is called among processes; nothing is the driver."""
LONGEST = 300.0
"""Seconds after which a driver must have ended by itself."""


def run(
    sample: int | None, seed: int, targets: Collection[str] = ("worker", "driver", "raylet")
) -> dict[str, int]:
    """Kill.

    Args:
        sample: kills of each kind with local workers, of a short run; None is all, with Ray where
            that is installed.
        seed: of the moments, of which each follows from it and the number of the kill alone.
        targets: what is killed.

    Returns:
        Number of kills by what was killed, and how many batches were made again at most.
    """
    result: Counter[str] = Counter()
    has_ray = sample is None and find_spec("ray") is not None
    kinds = [
        (engine, target)
        for engine, target in TARGETS
        if target in targets and (engine == "local" or has_ray)
    ]
    most = 0
    with TemporaryDirectory(prefix="attn-workers-") as place:
        stage = _Stage(Path(place), ITEMS if sample is None else FEW)
        for number, (engine, target) in product(range(KILLS if sample is None else sample), kinds):
            name = f"{engine}-{target}-{number}"
            again = stage.kill(engine, target, random.Random(f"{seed}-{name}"), name)
            sys.stderr.write(f"{engine} {target} {number}: {again} made again\n")
            result[f"{engine} {target}"] += 1
            most = max(most, again)
    return {**result, "most batches made again": most}


class _Stage:
    """A run that one process made, to which others are held."""

    def __init__(self, place: Path, items: int) -> None:
        self._place, self._items = place, items
        write_plugin(place / "plugin")
        sys.path.insert(0, str(place / "plugin"))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(place / "plugin")])
        os.environ[SLEEP] = "0.05"
        installed.cache_clear()
        self._capture(place / "serial", "local", None)
        self._serial = contents(place / "serial")

    def kill(self, engine: str, target: str, chance: random.Random, name: str) -> int:
        """Kill, give the command again, check all, and return how many batches were made again."""
        for attempt in count():
            out = self._place / f"{name}-{attempt}"
            log = out.with_name(f"{out.name}.log")
            os.environ[LOG], os.environ[MARK] = str(log), out.name
            if self._killed(out, engine, target, chance):
                break  # else the run came to its end before
        whole = _complete(out)
        status = _wait(self._fork(out, engine), name)  # Ray bears no fork after it was used
        assert status == 0, f"{name}: the same command ends with {status}"
        assert contents(out) == self._serial, f"{name}: differs from the run of one process"
        entries = read_index(out)
        assert len({entry.folder for entry in entries}) == len(entries) == self._items, name
        assert whole.items() <= _complete(out).items(), f"{name}: a complete trace was made again"
        again = _lines(log) - self._items // BATCH
        assert again <= WORKERS, f"{name}: {again} batches were made again"
        return again

    def _killed(self, out: Path, engine: str, target: str, chance: random.Random) -> bool:
        """Kill at a moment of a run, and wait for its end; say whether anything was killed."""
        moment, delay = chance.randrange(1, self._items - WORKERS * BATCH), chance.random() / 10
        driver = self._fork(out, engine)
        while _lines(out / "index.jsonl") < moment:
            if os.waitpid(driver, os.WNOHANG) != (0, 0):
                return False
            time.sleep(0.005)
        time.sleep(delay)
        called = TARGETS[engine, target]
        victims = running(called, mark=MARK) if called else [driver]
        is_killed = bool(victims) and _kill(chance.choice(victims))
        _wait(driver, out.name)
        while running(TARGETS[engine, "worker"], mark=MARK):
            time.sleep(0.02)
        return is_killed

    def _capture(self, out: Path, engine: str, workers: int | None) -> attn.Captured:
        return attn.capture(
            "stub",
            "a red cat",
            model="demo",
            seed=range(self._items),
            batch=BATCH,
            size=(24, 16),
            steps=2,
            workers=workers,
            engine=engine if workers else "local",
            out=out,
            resume=True,
            report=Report(),
        )

    def _fork(self, out: Path, engine: str) -> int:
        if child := os.fork():
            return child
        status = 1
        try:
            status = 2 * bool(self._capture(out, engine, WORKERS).failures)
        except AttnError as error:
            sys.stderr.write(f"{out.name}: {error}\n")
        finally:
            os._exit(status)


def _kill(victim: int) -> bool:
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _wait(driver: int, name: str) -> int:
    """Return the exit code of a driver, or minus the signal that ended it."""
    until = time.monotonic() + LONGEST
    while (ended := os.waitpid(driver, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < until, f"{name}: the driver does not end"
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _complete(out: Path) -> dict[str, int]:
    """Return when the manifests of complete traces were written, by trace."""
    return {
        entry.folder: (out / entry.folder / MANIFEST).stat().st_mtime_ns
        for entry in (read_index(out) if (out / "index.json").exists() else ())
        if entry.status == "complete"
    }
