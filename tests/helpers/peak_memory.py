"""Prints the most bytes of Python and numpy while a verb runs: `peak_memory.py VERB ROOT COUNT…`.

In a process of its own: checks of types, and what other tests left, would count too.
"""

import sys
import tracemalloc
from pathlib import Path

from attn.analysis.compare import changes, paired
from attn.files import spool
from attn.verbs.analyze.analyze import analyze
from attn.verbs.compare.compare import compare
from attn.verbs.report import Report

SMALL = 2**12


def run(verb, root, count):
    """Analyse or compare collections of so many traces."""
    if verb == "analyze":
        analyze(root / f"base-{count}", pictures=False, report=Report())
    else:
        sides = [root / f"{name}-{count}" for name in ("base", "variant")]
        compare(*sides, out=root / f"out-{count}", pictures=False, report=Report())


def main(verb, root, *counts):
    """Print the peak of each count, but of the first, which imports what is needed.

    What has a bound has a lower one here, which toy traces reach.
    """
    spool.LARGEST = changes.LARGEST = SMALL
    paired.BLOCK, paired.RESAMPLES = 2**8, 83
    run(verb, Path(root), counts[0])
    for count in counts[1:]:
        tracemalloc.start()
        run(verb, Path(root), count)
        sys.stdout.write(f"{tracemalloc.get_traced_memory()[1]}\n")
        tracemalloc.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
