"""Single layers at the published sizes, with random weights, through the engine.

    python -m benchmarks.full_size sd35-large|sdxl [--size 1024x1024] [--dtype float32] [--rounds 3]

Prints the time with and without capture at the default level of detail, whether the block's output
is the same bit for bit, how far the probabilities are from a float64 softmax of the same query and
key, and by how much the peak of memory grew.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
from torch import Tensor, nn

from attn import tap
from attn.engine.attention import Attention
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.schema import Call, Layer, Segment, Sequence, Step, Token
from attn.verbs.parsing import parse_size

WORDS = 12
"""Content tokens of the prompt: each has a column of the map, all others share one."""
PIXELS = {"sd35-large": 16, "sdxl": 16}
"""Pixels per token and side: of SDXL, the larger of the two grids with attention."""
LOGITS = 3.0
"""Standard deviation of the logits, roughly: fresh weights would attend almost evenly."""
CHECKED = 16
"""Query rows whose probabilities are compared with float64, of every head."""


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(PIXELS))
    parser.add_argument("--size", default="1024x1024")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = parse_size(arguments.size)
    grid = (height // PIXELS[arguments.model], width // PIXELS[arguments.model])
    torch.manual_seed(0)
    build = sd35_large if arguments.model == "sd35-large" else sdxl
    with torch.no_grad():
        block, layer, run = build(grid, getattr(torch, arguments.dtype))
        _measure(block, layer, run, arguments)


def sd35_large(
    grid: tuple[int, int], dtype: torch.dtype
) -> tuple[nn.Module, Layer, Callable[[], Tensor]]:
    """One of the 38 joint blocks: 38 heads of 64, 77 CLIP and 256 T5 positions."""
    width, heads, text = 2432, 38, 77 + 256
    block = JointTransformerBlock(width, heads, 64, qk_norm="rms_norm").to(dtype).eval()
    pixels = grid[0] * grid[1]
    block.attn.norm_q.weight *= LOGITS
    segments = (
        Segment("image", "image", 0, pixels, grid),
        Segment("clip", "text", pixels, pixels + 77),
        Segment("t5", "text", pixels + 77, pixels + text),
    )
    layer = Layer(0, "denoiser", "attn", "joint", heads, segments, segments, head_dim=64)
    states = [torch.randn(2, length, width, dtype=dtype) for length in (pixels, text)]
    time_embedding = torch.randn(2, width, dtype=dtype)
    return block, layer, lambda: block(*states, temb=time_embedding)[1]


def sdxl(
    grid: tuple[int, int], dtype: torch.dtype
) -> tuple[nn.Module, Layer, Callable[[], Tensor]]:
    """One transformer block of the second level: 10 heads of 64 read 77 text positions."""
    width, heads = 640, 10
    block = BasicTransformerBlock(width, heads, 64, cross_attention_dim=2048).to(dtype).eval()
    block.attn2.to_q.weight *= 3 * LOGITS  # fresh weights give logits of about 1/3
    pixels = grid[0] * grid[1]
    layer = Layer(
        index=0,
        tower="denoiser",
        path="attn2",
        kind="cross",
        num_heads=heads,
        queries=(Segment("image", "image", 0, pixels, grid),),
        keys=(Segment("clip", "text", 0, 77),),
        head_dim=64,
    )
    states = torch.randn(2, pixels, width, dtype=dtype)
    text = torch.randn(2, 77, 2048, dtype=dtype)
    return block, layer, lambda: block(states, encoder_hidden_states=text)


def _measure(
    block: nn.Module, layer: Layer, run: Callable[[], Tensor], arguments: argparse.Namespace
) -> None:
    plain_output = run()
    peak = _peak()
    captured_output, _ = _capture(block, layer, run, steps=1)
    grown = _peak() - peak
    # the first call of each kind of kernel is checked by running it twice, once in a generation
    captured = _capture(block, layer, run, steps=1 + arguments.rounds)[1][1:]
    plain = [_timed(run)[1] for _ in range(arguments.rounds)]
    queries, keys = layer.num_queries, layer.num_keys
    print(
        f"{arguments.model}, {arguments.size}, {arguments.dtype},"
        f" {torch.get_num_threads()} threads:"
        f" {layer.num_heads} heads, {queries} queries, {keys} keys"
    )
    base, own = statistics.median(plain), statistics.median(captured)
    print(f"  time     plain {base:.2f} s, attn {own:.2f} s, x{own / base:.3f}")
    print(f"  output   {'same bits' if torch.equal(plain_output, captured_output) else 'DIFFERS'}")
    print(f"  probs    largest error {_largest_error(block, layer, run):.1e} against float64")
    print(f"  memory   peak {grown:+.0f} MB")


def _timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.perf_counter()
    output = run()
    return output, time.perf_counter() - began


def _capture(
    block: nn.Module, layer: Layer, run: Callable[[], Tensor], *, steps: int
) -> tuple[Tensor, list[float]]:
    """Run the block with everything that the default `attn capture` keeps.

    Returns:
        the last step's output, and the seconds of each step.
    """
    plan = make_plan(
        [layer], {"cond": _sequence(layer)}, Keep(), samples=1, steps=steps, dtype="F32"
    )
    kept: set[str] = set()

    def generate(on_call: Callable[[Call], None]) -> list[tuple[Tensor, float]]:
        done = []
        for step in range(steps):
            on_call(Call("denoiser", step, 999.0 - step, 1.0, (("uncond", 0), ("cond", 0)), ()))
            done.append(_timed(run))
        return done

    def write(trace: int, step: Step | None, tensors: Mapping[str, np.ndarray]) -> None:
        kept.update(tensors)

    done, _, _ = record({"denoiser": block}, [plan], 1, generate, write)
    if f"0/map.{plan.kept.blocks[0]}" not in kept:
        raise SystemExit("nothing was captured")
    return done[-1][0], [seconds for _, seconds in done]


def _sequence(layer: Layer) -> Sequence:
    """Return the text with `WORDS` content tokens in every segment; the rest is padding."""
    segments = tuple(segment for segment in layer.keys if segment.kind == "text")
    tokens = tuple(
        Token(
            position,
            segment.name,
            id=0,
            text="x",
            special=False,
            padding=position >= segment.start + WORDS,
            start=0,
            stop=1,
            word=None,
        )
        for segment in segments
        for position in range(segment.start, segment.stop)
    )
    return Sequence(layer.keys if len(layer.keys) > 1 else segments, tokens)


def _largest_error(block: nn.Module, layer: Layer, run: Callable[[], Tensor]) -> float:
    errors: list[float] = []

    def see(path: str, attention: Attention) -> None:
        query, key, _ = attention.factors()
        rows = torch.linspace(0, query.shape[2] - 1, CHECKED).long()
        for head in range(query.shape[1]):
            logits = query[0, head, rows].double() @ key[0, head].double().mT * attention.scale
            own = attention.probs(0, slice(head, head + 1), rows, slice(None))[0]
            errors.append(float((logits.softmax(-1) - own).abs().max()))

    tapped: Any = tap(block, layer.path, keep="mass", see=see)
    with tapped:
        run()
    return max(errors)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
