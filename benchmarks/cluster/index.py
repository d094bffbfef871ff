"""What the index of a collection of many traces costs: `python -m benchmarks.cluster.index [N]`.

An index of N entries, and the journals of eight writers that say of nine in ten of them that they
are complete. No trace is there: what is measured is the list, in a process of its own each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from attn.verbs.capture.collection import (
    Entry,
    begin_index,
    note_outcomes,
    read_index,
    shard_journal,
    write_index,
)

WRITERS = 8
PROBE = """
import json, sys, time
from pathlib import Path
{imports}
began = time.monotonic(), time.process_time()
{call}
wall, busy = time.monotonic() - began[0], time.process_time() - began[1]
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps([wall, busy, peak * 1.024e-3]))
"""
CALLS = {
    "open: index and journals of eight writers": (
        "from attn.verbs.capture.collection import read_collection",
        "entries = read_collection(Path(sys.argv[1])).traces",
    ),
    "decide what is left": (
        "from attn.verbs.capture.collection import read_collection",
        "left = [e for e in read_collection(Path(sys.argv[1])).traces if e.status == 'pending']",
    ),
    "compact: one index, no journals": (
        "from attn.verbs.capture.collection import read_collection, write_index",
        "index = read_collection(Path(sys.argv[1])); "
        "write_index(Path(sys.argv[2]), index.traces, index.run)",
    ),
}


def write(folder: Path, count: int) -> None:
    """Write an index, and what eight writers say of it."""
    folder.mkdir()
    (folder.parent / "compact").mkdir()
    entries = [
        Entry(f"{number:04d}", "pending", f"a red cat number {number // 8} on a chair", number % 8)
        for number in range(count)
    ]
    begin_index(folder, entries, None)
    done = [Entry(entry.folder, "complete", entry.prompt, entry.seed) for entry in entries]
    for writer in range(WRITERS):
        own = [entry for at, entry in enumerate(done) if at % WRITERS == writer and at % 10]
        note_outcomes(folder, own, shard_journal(writer + 1, WRITERS))
    assert sum(entry.status == "pending" for entry in read_index(folder)) == -(-count // 10)


def measure(count: int) -> dict[str, list[float]]:
    """Return seconds, processor seconds, and peak MB of the process, by what is done."""
    figures = {}
    with TemporaryDirectory() as place:
        folder = Path(place, "run")
        write(folder, count)
        for name, (imports, call) in CALLS.items():
            code = PROBE.format(imports=imports, call=call)
            command = [sys.executable, "-c", code, str(folder), str(Path(place, "compact"))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures[name] = json.loads(done.stdout)
        assert [path.name for path in Path(place, "compact").iterdir()] == ["index.json"]
        write_index(Path(place, "compact"), read_index(Path(place, "compact")))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.index")
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    given = parser.parse_args()
    print(
        f"{'of ' + format(given.count, ',') + ' traces':45} {'s':>6} {'busy s':>7} {'peak MB':>8}"
    )
    for name, (wall, busy, peak) in measure(given.count).items():
        print(f"{name:45} {wall:6.2f} {busy:7.2f} {peak:8.0f}")
