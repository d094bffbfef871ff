"""Where the time of capture goes, in seconds of the processor.

    OMP_NUM_THREADS=1 python -m benchmarks.profile sd3|sdxl|text [--steps 3] [--rounds 3]
        [--keep maps] [--cut] [--top 15]

Three methods take turns in one process: plain generation; with hooks and dispatch, whose kernels
nobody looks at; and the whole of `attn capture`, or of a variant of `attn ablate` (`--cut`). What
the last takes beside the first is told apart by the functions in `PARTS`, each less what it calls
of the others. Processor time with one thread is right beside other busy processes, too. `--top`
adds the functions of Python that take most by themselves, of which the profiler itself makes those
that are called often look dearer.
"""

from __future__ import annotations

import argparse
import cProfile
import pkgutil
import pstats
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from attn.backends import find, load
from attn.backends.types import Session
from attn.engine.hooks import AttentionHooks
from attn.schema import Request
from benchmarks import cost, text_cost

RECORDER = "attn.engine.recorder.Recorder"
PARTS = {
    "products": (
        "attn.engine.attention.Attention.log_probs",
        "attn.engine.attention.Attention.probs",
    ),
    "reductions": ("attn.engine.recorder.measure",),
    "conversion": (f"{RECORDER}._keep", "attn.engine.cells.Cells.stack"),
    "means over steps": (
        "attn.engine.reduction.means.Means.add",
        "attn.engine.reduction.means.Means.means",
    ),
    "calls and checks": (
        f"{RECORDER}.see",
        f"{RECORDER}.done",
        f"{RECORDER}.on_call",
        "attn.engine.cells.Cells.require_numbers",
    ),
    "shards": ("attn.trace.writer.TraceWriter._write",),
    "manifest and outputs": (
        "attn.verbs.capture.generation.draft",
        "attn.verbs.capture.generation.finished",
        "attn.trace.writer.TraceWriter.__init__",
        "attn.trace.writer.TraceWriter.finish",
    ),
    "forming picture": (
        "attn.backends.diffusers.forming.Forming.see",
        "attn.backends.diffusers.forming.Forming.decode",
    ),
    "opening": ("attn.verbs.capture.capture.open_session",),
    "plan": (
        "attn.verbs.capture.capture.plan_job",
        "attn.verbs.capture.capture.check_session",
        "attn.verbs.capture.generation.make_treatment",
        "attn.engine.run.refuse_unobservable",
    ),
}
"""Functions by what they are for."""


class Stopwatch:
    """Adds up the processor time of functions, each less what it calls of the others."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._here = threading.local()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Watch all of `PARTS` in a block."""
        with ExitStack() as stack:
            for part, paths in PARTS.items():
                for path in paths:
                    function = self._timed(part, pkgutil.resolve_name(path))
                    stack.enter_context(mock.patch(path, function))
            yield

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            running = self._here.__dict__.setdefault("running", [])
            began = time.thread_time()
            running.append(0.0)  # what is measured inside
            try:
                return function(*args, **named)
            finally:
                taken = time.thread_time() - began
                self.seconds[part] += taken - running.pop()
                self.calls[part] += 1
                if running:
                    running[-1] += taken

        return timed


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=(*cost.TEXT_KEYS, "text"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", default="maps")
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--top", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        methods = _methods(arguments, Path(folder))
        _compare(methods, arguments.rounds)
        if arguments.top:
            _tell_functions(methods["attn"], arguments.top)


def _methods(arguments: argparse.Namespace, folder: Path) -> dict[str, Callable[[], object]]:
    if arguments.model != "text":
        session, request = cost.prepare(arguments.model, arguments.steps or 3)
        method = cost.cut if arguments.cut else partial(cost.attn, keep=arguments.keep)
        return {
            "plain": lambda: session.generate([request], None),
            "watched": lambda: _watch(session, request),
            "attn": lambda: method(arguments.model, session, request),
        }
    shape, steps = text_cost.SHAPES["small"], arguments.steps or 16
    text_cost.save(folder, shape)
    family = load(find("mmada"))

    def watched() -> None:
        session = family.open(folder, family.Options(**shape.options))
        _watch(session, session.complete(Request(text_cost.PROMPT, steps=steps)))

    return {
        "plain": lambda: text_cost.plain(folder, shape, steps),
        "watched": watched,
        "attn": lambda: text_cost.attn(folder, shape, steps, keep=arguments.keep),
    }


def _watch(session: Session, request: Request) -> None:
    """Generate under the hooks of a capture that keeps nothing."""
    towers = session.towers()
    plan = cost.plan(session, request)
    keys = [(entry.layer.tower, entry.layer.path) for entry in plan.layers]
    modules = {key: towers[key[0]].get_submodule(key[1]) for key in keys}
    with AttentionHooks(modules, lambda key, attention: None):
        session.generate([request], None)


def _compare(methods: dict[str, Callable[[], object]], rounds: int) -> None:
    for method in methods.values():  # the first of each also imports
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    stopwatch = Stopwatch()
    for _ in range(rounds):
        for name, method in methods.items():
            with stopwatch.measured() if name == "attn" else nullcontext():
                began = time.process_time()
                method()
                seconds[name].append(time.process_time() - began)
    plain, watched, attn = (statistics.median(seconds[name]) for name in methods)
    print(f"plain {plain:.3f} s of the processor, {torch.get_num_threads()} threads")
    rows = [("hooks and dispatch", watched - plain, 0)]
    rows += [
        (part, stopwatch.seconds[part] / rounds, stopwatch.calls[part] // rounds) for part in PARTS
    ]
    rows.append(("all else", attn - plain - sum(taken for _, taken, _ in rows), 0))
    rows.append(("attn", attn - plain, 0))
    for part, taken, calls in rows:
        print(f"{part:>22} {taken:+8.3f} s {taken / plain:+8.1%} {f'{calls} calls' * bool(calls)}")


def _tell_functions(method: Callable[[], object], top: int) -> None:
    profile = cProfile.Profile(time.process_time)
    profile.runcall(method)
    pstats.Stats(profile).sort_stats("tottime").print_stats(top)


if __name__ == "__main__":
    main()
