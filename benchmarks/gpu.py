"""Capture on a GPU: identity per kernel, error, time, memory and copies, of published blocks.

    python -m benchmarks.gpu [--out DIR] [--size 1024x1024] [--rounds 20] [--blocks sdxl,llada-8b]

Blocks of SD3.5 Large, SDXL, FLUX.1, LLaDA-8B and Wan with random weights, in bfloat16 and float16.
For each: whether every fused kernel of torch gives the same bits with capture and without, the
largest error of its probabilities against float64; for every level of detail the time of the block
with capture over the time without (CUDA events, medians after a warm-up), the peak of memory above
the plain block's, and the bytes of a step with the time that copying them to the host takes: now,
and from pinned memory on a second stream while the block runs. Writes `gpu.json` and `gpu.md`.
On a machine without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attn.choices import Level
from attn.engine.plan import Keep
from attn.verbs.parsing import parse_size
from benchmarks.networks.blocks import BLOCKS, Block, build, capture, largest_error

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
DTYPES = ("bfloat16", "float16")
WARM_UP = 3
MAX_MATRIX = 2**31
"""Numbers of a block's whole attention matrices above which `heads` and `math` are left out."""


@dataclass(frozen=True)
class Identity:
    """Whether a block's output is the same bit for bit under one kernel."""

    block: str
    dtype: str
    kernel: str
    result: str
    error: float | None = None


@dataclass(frozen=True)
class Cost:
    """What one level of detail costs; seconds are medians, `low` and `high` are of the ratio."""

    block: str
    dtype: str
    level: str
    plain: float
    captured: float
    ratio: float
    low: float
    high: float
    peak_mb: float | None
    step_mb: float
    copy: float
    pinned_beside: float | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--size", default="1024x1024")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--blocks", default=",".join(BLOCKS))
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU on this machine, or torch was built without CUDA; nothing measured")
        return
    width, height = parse_size(options.size)
    identities: list[Identity] = []
    costs: list[Cost] = []
    for name in options.blocks.split(","):
        for dtype in DTYPES:
            with torch.no_grad():
                block = build(name, (height, width), options.device, getattr(torch, dtype))
                identities += [_identity(name, block, kernel) for kernel in KERNELS]
                costs += [
                    _cost(name, block, level, options.rounds)
                    for level in get_args(Level)
                    if level != "heads" or _matrix(block) <= MAX_MATRIX
                ]
            del block
    _write(options.out, identities, costs, _machine(options))


def _machine(options: argparse.Namespace) -> str:
    device = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    return f"{device}, torch {torch.__version__}, {options.size}, {options.rounds} rounds"


def _matrix(block: Block) -> int:
    layer = block.layer
    return layer.num_heads * layer.num_queries * layer.num_keys


def _identity(name: str, block: Block, kernel: str) -> Identity:
    result = partial(Identity, name, _dtype(block), kernel)
    if kernel == "math" and _matrix(block) > MAX_MATRIX:
        return result("left out: its matrices would not fit")
    with sdpa_kernel(KERNELS[kernel]):
        try:
            plain = block.run()
        except RuntimeError:
            return result("not on this device for this shape")
        again = block.run()
        captured = capture(block, Keep(), 1, lambda run: run())[0][-1]
        if not torch.equal(plain, again):
            return result("the kernel itself differs from run to run")
        same = torch.equal(plain, captured)
        error = None if kernel == "math" else largest_error(block)
    return result("same bits" if same else "DIFFERS", error)


def _cost(name: str, block: Block, level: Level, rounds: int) -> Cost:
    keep = Keep(level=level)
    base = _peak_mb(block, block.run)
    peak = _peak_mb(block, lambda: capture(block, keep, 1, lambda run: run()))
    captured: list[float] = []
    plain: list[float] = []

    def each(run: Callable[[], Tensor]) -> None:
        captured.append(_seconds(block, run))

    _, kept = capture(block, keep, WARM_UP + rounds, each)
    for _ in range(WARM_UP + rounds):
        plain.append(_seconds(block, block.run))
    plain, captured = plain[WARM_UP:], captured[WARM_UP:]
    base_seconds = statistics.median(plain)
    ratios = sorted(seconds / base_seconds for seconds in captured)
    copy, beside = _copies(block, kept)
    return Cost(
        block=name,
        dtype=_dtype(block),
        level=level,
        plain=base_seconds,
        captured=statistics.median(captured),
        ratio=statistics.median(ratios),
        low=ratios[0],
        high=ratios[-1],
        peak_mb=None if peak is None or base is None else peak - base,
        step_mb=kept / 1e6,
        copy=copy,
        pinned_beside=beside,
    )


def _seconds(block: Block, run: Callable[[], object]) -> float:
    """Return how long something takes, on the device's own clock where it has one."""
    if _device(block).type != "cuda":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    began_event, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began_event.record()
    run()
    ended.record()
    ended.synchronize()
    return float(began_event.elapsed_time(ended)) / 1e3


def _peak_mb(block: Block, run: Callable[[], object]) -> float | None:
    if _device(block).type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 1e6


def _copies(block: Block, size: int) -> tuple[float, float | None]:
    """Return the seconds that a step's bytes take to the host.

    The second is by how much a block takes longer while they are copied from the device to pinned
    memory on a second stream; None where there is no device to copy from.
    """
    held = torch.zeros(size, dtype=torch.uint8, device=_device(block))
    copy = statistics.median(_seconds(block, held.cpu) for _ in range(WARM_UP + 5))
    if held.device.type != "cuda":
        return copy, None
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    beside = torch.cuda.Stream()

    def both() -> None:
        with torch.cuda.stream(beside):
            pinned.copy_(held, non_blocking=True)
        block.run()
        torch.cuda.current_stream().wait_stream(beside)

    alone, together = (
        statistics.median(_seconds(block, run) for _ in range(WARM_UP + 5))
        for run in (block.run, both)
    )
    return copy, together - alone


def _device(block: Block) -> torch.device:
    return next(block.module.parameters()).device


def _dtype(block: Block) -> str:
    return str(block.dtype).removeprefix("torch.")


def _write(
    folder: Path, identities: Sequence[Identity], costs: Sequence[Cost], machine: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine,
        "identity": [asdict(identity) for identity in identities],
        "cost": [asdict(cost) for cost in costs],
    }
    (folder / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        machine,
        "",
        "| block | dtype | kernel | output with capture | error of probs |",
        "|---|---|---|---|---|",
        *(
            f"| {i.block} | {i.dtype} | {i.kernel} | {i.result} | {_number(i.error, '.1e')} |"
            for i in identities
        ),
        "",
        "| block | dtype | keeps | plain | of plain | peak | a step | copy | pinned, beside |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {c.block} | {c.dtype} | {c.level} | {c.plain * 1e3:.2f} ms "
            f"| ×{c.ratio:.3f} ({c.low:.3f} to {c.high:.3f}) | {_number(c.peak_mb, '+.0f')} MB "
            f"| {c.step_mb:.2f} MB | {c.copy * 1e3:.2f} ms "
            f"| {_number(c.pinned_beside and c.pinned_beside * 1e3, '+.2f')} ms |"
            for c in costs
        ),
    ]
    (folder / "gpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


if __name__ == "__main__":
    main()
