"""Many long prompts: memory while they are captured, and the time of analysing them.

    python -m benchmarks.long_prompts [--prompts 100] [--words 700] [--steps 4] [--out FOLDER]

Writes prompts that are far longer than both encoders read, captures them with the demo `sd35`
(`--keep mass`, all that text keys need), and analyses the collection: the tables of every prompt,
the joined ones and the summary page, no picture per prompt. Each is a process of its own, of which
the peak of memory is printed (of capturing also that after a tenth of the prompts), and the time by
the clock and by the processor; a busy machine lengthens only the former.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attn.demo.tokenizers import WORDS
from attn.verbs.analyze.analyze import analyze
from attn.verbs.report import Report

SENTENCE = 32
"""Words between two full stops, in the mean."""


class Told(Report):
    """Prints the peak of memory after a tenth and after all of the prompts."""

    def progress(self, done: int, total: int, written: int) -> None:
        """Take the number of steps that are done."""
        if done in (total // 10, total):
            print(f"  {done} of {total} steps: peak of memory {peak():.0f} MB")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--words", type=int, default=700)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, help="keep everything here")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        PARTS[arguments.part](arguments)
        return
    print(f"{arguments.prompts} prompts of {arguments.words} words, {arguments.steps} steps")
    with TemporaryDirectory() as scratch:
        for part in PARTS:
            print(part, flush=True)
            measure([*sys.argv[1:], "--part", part, "--out", str(arguments.out or scratch)])


def measure(options: Sequence[str]) -> None:
    """Run this script with other options, and print what that took, start of Python and all."""
    from benchmarks.cost import ALLOCATOR  # imports torch, which analysing does without

    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "benchmarks.long_prompts", *options]
    subprocess.run(command, check=True, env=ALLOCATOR)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {time.monotonic() - began:.1f} s by the clock, {spent:.1f} s of the processor")


def capture_all(arguments: argparse.Namespace) -> None:
    """Capture every prompt with the demo model."""
    prompts = [write_prompt(number, arguments.words) for number in range(arguments.prompts)]
    from attn.verbs.capture.capture import capture

    out, steps = arguments.out / "run", arguments.steps
    capture("sd35", prompts, model="demo", out=out, steps=steps, keep="mass", report=Told())


def analyze_all(arguments: argparse.Namespace) -> None:
    """Analyse the collection: its tables, and one page."""
    analyze(arguments.out / "run", pictures=False)
    print(f"  peak of memory {peak():.0f} MB")


PARTS = {"capture": capture_all, "analyze": analyze_all}


def write_prompt(number: int, words: int) -> str:
    """Return a text of so many words, another one for every number."""
    chance = random.Random(number)
    text = [f"Prompt {number}"]
    text += [chance.choice(WORDS) for _ in range(words - 2)]
    for index in range(SENTENCE - 1, words - 1, SENTENCE):
        text[index] += "."
        text[index + 1] = text[index + 1].capitalize()
    return " ".join(text) + "."


def peak() -> float:
    """Return the peak of memory of this process in MB.

    Not `getrusage`, whose peak a process takes over from the one that starts it.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


if __name__ == "__main__":
    main()
