"""Run the campaign: `python -m benchmarks.campaign [SECTION …] [--sample N] [--seed S]`.

Prints one JSON object: the figures of every section.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from importlib import import_module

from benchmarks import campaign


def main() -> None:
    """Run the sections that are named, or all."""
    sections = [
        module.name
        for module in pkgutil.iter_modules(campaign.__path__)
        if module.name != "__main__"
        and hasattr(import_module(f"{campaign.__name__}.{module.name}"), "run")
    ]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--sample", type=int, help="so many cases of each section only")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.sections) - {*sections}:
        parser.error(f"no section {', '.join(unknown)}; there is: {', '.join(sections)}")
    figures = {
        name: import_module(f"{campaign.__name__}.{name}").run(given.sample, given.seed)
        for name in given.sections or sections
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
