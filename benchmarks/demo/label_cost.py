"""What it costs to compare the tokens of a trace with what the text encoders are given.

    python -m benchmarks.demo.label_cost [--rounds 3]

CPU seconds of the check alone, beside those of the whole generation with a built-in demo model: its
texts are as long as those of published models, while everything else is many times smaller.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import torch

from attn.backends import find, load
from attn.backends.diffusers.texts import encoders
from attn.backends.diffusers.texts.prompts import Prompts
from attn.schema import Request

PROMPT = "a photo of a rusty red bicycle leaning on a blue wall, two green dogs"
NEGATIVE = "blurry, low quality, bad"


class Watch:
    """Adds up the CPU seconds of what it is put around."""

    seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, on this watch."""

        def run(*arguments: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.process_time() - began

        return run

    def entered(self, make: Callable[..., AbstractContextManager[Any]]) -> Callable[..., Any]:
        """Return the same context, whose beginning is on this watch."""

        @contextmanager
        def run(*arguments: Any) -> Iterator[Any]:
            context = make(*arguments)
            entered = self.timed(context.__enter__)()
            yield entered
            context.__exit__(None, None, None)

        return run


def measure(backend: str) -> tuple[float, float]:
    """Return CPU seconds of the check, and of the generation that it is part of."""
    family = load(find(backend))
    session = family.open("demo", family.Options())
    request = session.complete(Request(PROMPT, negative=NEGATIVE, guidance=5.0))
    for branch in session.branches(request):  # whose tokens a capture has before it draws
        session.sequence(request, branch)
    watch = Watch()
    with (
        mock.patch.object(Prompts, "checked", watch.entered(Prompts.checked)),
        mock.patch.object(encoders, "_note", watch.timed(encoders._note)),
        mock.patch.object(encoders, "_absent", watch.timed(encoders._absent)),
    ):
        began = time.process_time()
        session.generate([request], None)
        return watch.seconds, time.process_time() - began


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for backend in ("sd15", "sdxl", "sd35"):
        for _ in range(rounds):
            check, whole = measure(backend)
            print(f"{backend:>5} {check * 1e3:6.2f} ms of {whole:5.2f} s: {check / whole:.2%}")


if __name__ == "__main__":
    main()
