"""Single layers at the published sizes, with random weights, through the engine.

    python -m benchmarks.full_size sd35-large|sdxl|... [--size 1024x1024] [--dtype float32]

Prints the processor's time with and without capture at the default level of detail, whether the
block's output is the same bit for bit, how far the probabilities are from a float64 softmax of the
same query and key, and by how much the peak of memory grew.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from attn.engine.plan import Keep
from attn.verbs.parsing import parse_size
from benchmarks.networks.blocks import BLOCKS, Block, build, capture, largest_error


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(BLOCKS))
    parser.add_argument("--size", default="1024x1024")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = parse_size(arguments.size)
    with torch.no_grad():
        block = build(arguments.model, (height, width), "cpu", getattr(torch, arguments.dtype))
        _measure(block, arguments)


def _measure(block: Block, arguments: argparse.Namespace) -> None:
    plain_output = block.run()
    peak = _peak()
    captured_output = capture(block, Keep(), 1, _timed)[0][-1][0]
    grown = _peak() - peak
    # the first call of each kind of kernel is checked by running it twice, once in a generation
    captured = [
        seconds for _, seconds in capture(block, Keep(), 1 + arguments.rounds, _timed)[0][1:]
    ]
    plain = [_timed(block.run)[1] for _ in range(arguments.rounds)]
    layer = block.layer
    print(
        f"{arguments.model}, {arguments.size}, {arguments.dtype},"
        f" {torch.get_num_threads()} threads:"
        f" {layer.num_heads} heads, {layer.num_queries} queries, {layer.num_keys} keys"
    )
    base, ours = statistics.median(plain), statistics.median(captured)
    print(f"  time     plain {base:.2f} s, attn {ours:.2f} s, x{ours / base:.3f}")
    print(f"  output   {'same bits' if torch.equal(plain_output, captured_output) else 'DIFFERS'}")
    print(f"  probs    largest error {largest_error(block):.1e} against float64")
    print(f"  memory   peak {grown:+.0f} MB")


def _timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.process_time()
    output = run()
    return output, time.process_time() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
