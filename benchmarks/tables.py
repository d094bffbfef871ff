"""What a table of a million rows costs: written by attn, and by pandas, in one run.

    python -m benchmarks.tables [--rows 1000000]

Both files must be equal, byte by byte. Each is written in a process of its own; the memory is what
writing takes above the table itself.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from attn.analysis.tables import Columns, Table, make_frame, make_table, write_table


def main() -> None:
    """Write the table both ways and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--only", choices=WRITERS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        print(measure(arguments.only, arguments.rows, arguments.out))
        return
    with TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.csv") for name in WRITERS]
        for name, file in zip(WRITERS, files, strict=True):
            options = ["--rows", str(arguments.rows), "--only", name, "--out", str(file)]
            subprocess.run([sys.executable, "-m", "benchmarks.tables", *options], check=True)
        same = filecmp.cmp(*files, shallow=False)
        print(f"{files[0].stat().st_size / 10**6:.0f} MB each, {'equal' if same else 'DIFFERENT'}")
    raise SystemExit(not same)


def measure(name: str, rows: int, file: Path) -> str:
    """Write the table one way, and say what that cost."""
    table = toy_table(rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, on Linux
    before, began = peak(), time.process_time()
    WRITERS[name](table, file)
    seconds = time.process_time() - began
    return f"{name:<8}{seconds:>6.2f} s of processor time, +{peak() - before:.0f} MB"


def toy_table(rows: int) -> Table:
    """Return a table like `words.csv`: texts, whole numbers, numbers, empty cells."""
    rng = np.random.default_rng(0)
    words = np.array([f"word {number}" for number in range(20)], object)
    mass, share = rng.random((2, rows))
    share[rng.random(rows) < 0.1] = np.nan
    return make_table(
        {
            "word": words[rng.integers(len(words), size=rows)],
            "segment": np.full(rows, "clip", object),
            "layer": rng.integers(70, size=rows),
            "step": rng.integers(50, size=rows),
            "mass": mass,
            "share": share,
            "change": rng.normal(size=rows) * 1e-5,
            "low": rng.random(rows) * 1e6,
        }
    )


def write_with_pandas(table: Columns, file: Path) -> None:
    """Write a table as a data frame."""
    make_frame(table).to_csv(file, index=False, float_format="%.9g", lineterminator="\n")


def peak() -> float:
    """Return the most memory that this process had, MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


WRITERS = {"pandas": write_with_pandas, "attn": write_table}


if __name__ == "__main__":
    main()
