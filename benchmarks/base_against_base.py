"""How often the intervals of a comparison hold 0 where nothing changed but the noise.

    python -m benchmarks.base_against_base [--runs 96] [--pairs 16] [--comparisons 200]
                                           [--steps N] [--out base-against-base]

Generates traces of one prompt with the trained `sdxl` demo, each from noise of its own, and
keeps them in OUT, so that the same command goes on where it was. A comparison draws twice as many
of them as it has pairs, at random and without repeating one, and compares one half with the other
exactly as `attn compare` does: reading both folders, pairing them, making every table.

Comparisons share runs, but each by itself is as if all its runs were new: for two halves of n that
are drawn without repetition from N runs with variance S² (N - 1 in its denominator), the variance
of the difference of their means is 2 S² / n, exactly that of independent runs.

Prints, for each kind of number, in how many of the comparisons the interval holds 0: the mean over
the rows of its table and the lowest and highest row; for the masses of words every row.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import attn
from attn.analysis.compare.change_tables import PARTS
from attn.analysis.compare.pairs import PairOptions
from attn.verbs.compare.pairing import ComparedRun, Member, open_run
from attn.verbs.compare.variants import compare_traces

LABELS = ("word", "occurrence", "segment", "layer", "head", "step")
PROMPT = "a red circle left of a blue square on a white background"
WORDS = "mass.csv"
Row = tuple[str, ...]


def main() -> None:
    """Read the command line, generate, compare, and print."""
    arguments = _parse()
    pool = generate(arguments.out, arguments.runs, arguments.steps)
    held = count_all(split_all(pool, arguments.pairs, arguments.comparisons))
    print(f"{len(pool)} runs, {arguments.comparisons} comparisons of {arguments.pairs} pairs")
    print(f"\n{'table':<20}{'intervals':>10}{'hold 0':>9}{'lowest':>9}{'highest':>9}")
    for name, rows in held.items():
        rates = np.array([np.mean(result) for result in rows.values()])
        numbers = (rates.mean(), rates.min(), rates.max())
        print(f"{name:<20}{len(rates):>10}" + "".join(f"{rate:>9.1%}" for rate in numbers))
    print(f"\n{WORDS}")
    for row, result in held[WORDS].items():
        print(f"{row[0]:<12}{row[1]:<3}{np.mean(result):>7.1%}")


def generate(folder: Path, runs: int, steps: int | None) -> tuple[Member, ...]:
    """Return the traces of a pool, of which those that are missing are generated."""
    attn.capture(
        "sdxl", PROMPT, seed=range(runs), keep="means", steps=steps, out=folder, resume=True
    )
    return open_run(folder, "pool").members


def split_all(
    pool: Sequence[Member], pairs: int, comparisons: int
) -> Iterator[tuple[list[Member], list[Member]]]:
    """Draw the two halves of each comparison."""
    rng = np.random.default_rng(0)
    for _ in range(comparisons):
        drawn = [pool[index] for index in rng.permutation(len(pool))[: 2 * pairs]]
        yield drawn[:pairs], drawn[pairs:]


def count_all(
    halves: Iterator[tuple[list[Member], list[Member]]],
) -> dict[str, dict[Row, list[bool]]]:
    """Say by table and row, for every comparison, whether the interval holds 0."""
    held: dict[str, dict[Row, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for number, (first, second) in enumerate(halves, 1):
        for name, columns in compare(first, second).items():
            holds = (columns["low"] <= 0) & (columns["high"] >= 0)
            labels = zip(*(columns[label] for label in LABELS), strict=True)
            for row, is_held in zip(labels, holds, strict=True):
                held[name][tuple(map(str, row))].append(bool(is_held))
        if number % 20 == 0:
            print(f"{number} comparisons", file=sys.stderr, flush=True)
    return held


def compare(first: Sequence[Member], second: Sequence[Member]) -> dict[str, Any]:
    """Compare two halves; returns the tables of changes by name."""
    runs = [
        ComparedRun(half[0].folder, label, tuple(half))
        for label, half in (("one", first), ("other", second))
    ]
    (variant,) = compare_traces(runs, PairOptions())
    tables = {}
    for part in PARTS.values():
        tables |= part(variant.pairs, None)
    return {name: columns for name, columns in tables.items() if "change" in columns}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--steps", type=int, help="of the sampler; else the backend's default")
    parser.add_argument("--out", type=Path, default=Path("base-against-base"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
