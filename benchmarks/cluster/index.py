"""What a collection of many traces costs: `python -m benchmarks.cluster.index [N]`.

An index of N entries, and the journals of eight writers that say of nine in ten of them that they
are complete, with stamps of folders that are really there: each has a manifest, that of a small
capture, and its two folders, which are empty. Measured are the list, which traces need not be read
to go on, and the list of `attn view` of one that was never seen; in a process of its own each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attn
from attn.trace.store import MANIFEST
from attn.verbs.capture.collection import (
    Entry,
    begin_index,
    note_outcomes,
    read_index,
    shard_journal,
    write_index,
)
from attn.verbs.capture.unchanged import STAMPED, stamp_entry
from attn.verbs.report import Report

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
    "go on: what is left, and what is unchanged": (
        "from attn.verbs.capture.collection import read_collection\n"
        "from attn.verbs.capture.unchanged import find_unchanged",
        "traces = read_collection(Path(sys.argv[1])).traces; "
        "left = [e for e in traces if e.status == 'pending']; "
        "unchanged = find_unchanged(Path(sys.argv[1]), traces); "
        "assert len(unchanged) + len(left) == len(traces)",
    ),
    "attn view: the first piece of the list": (
        "from attn.verbs.view import find_traces",
        "find_traces([sys.argv[1]]).index(seconds=0.1)",
    ),
    "attn view: all of the list": (
        "import msgspec\nfrom attn.verbs.view import find_traces\n"
        "class Piece(msgspec.Struct):\n    next: int | None",
        "library, start, told = find_traces([sys.argv[1]]), 0, 0\n"
        "while start is not None:\n"
        "    piece = library.index(start, 0.3)\n"
        "    start = msgspec.json.decode(piece, type=Piece).next\n"
        "assert len(library.items) == int(sys.argv[3])",
    ),
    "compact: one index, no journals": (
        "from attn.verbs.capture.collection import read_collection, write_index",
        "index = read_collection(Path(sys.argv[1])); "
        "write_index(Path(sys.argv[2]), index.traces, index.run)",
    ),
}


def write(folder: Path, count: int) -> int:
    """Write a run; return how many of its traces are complete."""
    example = folder.with_name("example")
    attn.capture("sd15", "a red cat", model="demo", steps=1, size=(64, 64), keep="mass",
                 out=example, report=Report())  # fmt: skip
    manifest = (example / MANIFEST).read_bytes()
    folder.mkdir()
    (folder.parent / "compact").mkdir()
    entries = [
        Entry(f"{number:04d}", "pending", f"a red cat number {number // 8} on a chair", number % 8)
        for number in range(count)
    ]
    begin_index(folder, entries, None)
    done = []
    for number, entry in enumerate(entries):
        if number % 10:
            for name in STAMPED[1:]:
                (folder / entry.folder / name).mkdir(parents=True)
            (folder / entry.folder / MANIFEST).write_bytes(manifest)
            of = entry.folder, "complete", entry.prompt, entry.seed
            done.append(stamp_entry(Entry(*of), folder, count))
    for writer in range(WRITERS):
        note_outcomes(folder, done[writer::WRITERS], shard_journal(writer + 1, WRITERS))
    assert sum(entry.status == "pending" for entry in read_index(folder)) == -(-count // 10)
    return len(done)


def measure(count: int) -> dict[str, list[float]]:
    """Return seconds, processor seconds, and peak MB of the process, by what is done."""
    figures = {}
    with TemporaryDirectory(prefix="attn-index-") as place:
        folder = Path(place, "run")
        done = write(folder, count)
        for name, (imports, call) in CALLS.items():
            code = PROBE.format(imports=imports, call=call)
            given = [str(folder), str(Path(place, "compact")), str(done)]
            ran = subprocess.run(
                [sys.executable, "-c", code, *given], check=True, capture_output=True, text=True
            )
            figures[name] = json.loads(ran.stdout)
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
