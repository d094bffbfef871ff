"""Blocks of the published models at their published sizes, with random weights, on any device.

BLOCKS     their names, each with what builds it
capture    run one through the engine, step by step, with what `attn capture` would keep
largest_error    how far its probabilities are from a float64 softmax
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
from diffusers.models.transformers.transformer_flux import (
    FluxSingleTransformerBlock,
    FluxTransformerBlock,
)
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from attn import tap
from attn.engine.attention import Attention
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.schema import Call, Layer, Segment, Sequence, Step, Token

WORDS = 12
"""Content tokens of the prompt: each has a column of the map, all others share one."""
LOGITS = 3.0
"""Standard deviation of the logits, roughly: fresh weights would attend almost evenly."""
CHECKED = 16
"""Query rows whose probabilities are compared with float64, of every head."""
BATCH = 2
"""Guidance: an unconditional and a conditional row."""

Make = Callable[..., Tensor]
"""Draws a tensor of a shape on the block's device, in its dtype."""


@dataclass(frozen=True)
class Block:
    """A block that can be run.

    Attributes:
        module: the block itself, evaluated.
        layer: where its attention is, and what queries and keys are.
        run: runs it on fixed inputs, and returns its output.
        dtype: of weights and inputs.
    """

    module: nn.Module
    layer: Layer
    run: Callable[[], Tensor]
    dtype: torch.dtype


def build(name: str, pixels: tuple[int, int], device: str, dtype: torch.dtype) -> Block:
    """Build a block for a picture of (height, width) pixels; of texts they say nothing.

    Raises:
        KeyError: there is no block of that name.
    """
    torch.manual_seed(0)
    make = partial(torch.randn, device=device, dtype=dtype)
    with torch.device(device), torch.no_grad():
        module, layer, run = BLOCKS[name](pixels, make)
        return Block(module.to(dtype=dtype).eval(), layer, run, dtype)


def _grid(pixels: tuple[int, int], patch: int) -> tuple[int, int]:
    return pixels[0] // patch, pixels[1] // patch


def _segments(grid: tuple[int, int], *texts: tuple[str, int], first: str) -> tuple[Segment, ...]:
    """Lay out a picture and the texts beside it, in the order that the model has."""
    parts = [("image", grid[0] * grid[1]), *texts]
    segments: list[Segment] = []
    start = 0
    for name, length in parts if first == "image" else [*texts, parts[0]]:
        kind, shape = ("image", grid) if name == "image" else ("text", None)
        segments.append(Segment(name, kind, start, start + length, shape))  # type: ignore[arg-type]
        start += length
    return tuple(segments)


Built = tuple[nn.Module, Layer, Callable[[], Tensor]]


def sd35_large(pixels: tuple[int, int], make: Make) -> Built:
    """One of the 38 joint blocks: 38 heads of 64, 77 CLIP and 256 T5 positions."""
    width, heads = 2432, 38
    block = JointTransformerBlock(width, heads, 64, qk_norm="rms_norm")
    block.attn.norm_q.weight *= LOGITS
    segments = _segments(_grid(pixels, 16), ("clip", 77), ("t5", 256), first="image")
    layer = Layer(0, "denoiser", "attn", "joint", heads, segments, segments, head_dim=64)
    image, text, time = (
        make(BATCH, segments[0].length, width),
        make(BATCH, 333, width),
        make(BATCH, width),
    )
    return block, layer, lambda: block(image, text, temb=time)[1]


def sdxl(pixels: tuple[int, int], make: Make) -> Built:
    """One transformer block of the second level: 10 heads of 64 read 77 text positions."""
    width, heads = 640, 10
    block = BasicTransformerBlock(width, heads, 64, cross_attention_dim=2048)
    block.attn2.to_q.weight *= 3 * LOGITS  # fresh weights give logits of about 1/3
    queries = _segments(_grid(pixels, 16), first="image")
    layer = _cross("attn2", heads, 64, queries, Segment("clip", "text", 0, 77))
    states, text = make(BATCH, queries[0].length, width), make(BATCH, 77, 2048)
    return block, layer, lambda: block(states, encoder_hidden_states=text)


def flux_double(pixels: tuple[int, int], make: Make) -> Built:
    """One of the 19 double-stream blocks: 24 heads of 128, 512 T5 positions first."""
    return _flux(FluxTransformerBlock(3072, 24, 128), pixels, make)


def flux_single(pixels: tuple[int, int], make: Make) -> Built:
    """One of the 38 single-stream blocks: the same sequence, one stream of weights."""
    return _flux(FluxSingleTransformerBlock(3072, 24, 128), pixels, make)


def _flux(block: nn.Module, pixels: tuple[int, int], make: Make) -> Built:
    block.attn.norm_q.weight *= LOGITS  # type: ignore[union-attr, operator]
    segments = _segments(_grid(pixels, 16), ("t5", 512), first="text")
    layer = Layer(0, "denoiser", "attn", "joint", 24, segments, segments, head_dim=128)
    image, text = make(1, segments[1].length, 3072), make(1, 512, 3072)
    angles = make(segments[1].stop, 128).float()
    rotary, time = (angles.cos(), angles.sin()), make(1, 3072)

    def run() -> Tensor:
        output: Tensor = block(image, text, temb=time, image_rotary_emb=rotary)[1]
        return output

    return block, layer, run


def llada_8b(pixels: tuple[int, int], make: Make) -> Built:
    """One of the 32 blocks of a language model: 32 heads of 128 over 512 positions."""
    positions = 512
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=12288,
        num_attention_heads=32,
        num_key_value_heads=32,
        attn_implementation="sdpa",
    )
    block = LlamaDecoderLayer(config, 0)
    block.self_attn.is_causal = False
    block.self_attn.q_proj.weight *= 3 * LOGITS
    segments = (Segment("text", "text", 0, positions),)
    layer = Layer(0, "denoiser", "self_attn", "self", 32, segments, segments, head_dim=128)
    states = make(BATCH, positions, 4096)
    places = torch.arange(positions, device=states.device)[None]
    rotary = LlamaRotaryEmbedding(config).to(states.device)(states, places)

    def run() -> Tensor:
        output = block(states, position_embeddings=rotary)
        return output[0] if isinstance(output, tuple) else output

    return block, layer, run


def wan_14b(pixels: tuple[int, int], make: Make) -> Built:
    """One of the 40 blocks of Wan 2.1 14B: the text attention of 81 frames, 40 heads of 128."""
    frames, (height, width) = 21, _grid(pixels, 16)
    block = WanTransformerBlock(5120, 13824, 40, cross_attn_norm=True)
    block.attn2.norm_q.weight *= LOGITS
    grid = (frames * height, width)
    queries = _segments(grid, first="image")
    layer = _cross("attn2", 40, 128, queries, Segment("t5", "text", 0, 512))
    states, text = make(1, queries[0].length, 5120), make(1, 512, 5120)
    angles = make(1, queries[0].length, 1, 128).float()
    rotary, time = (angles.cos(), angles.sin()), make(1, 6, 5120).float()
    return block, layer, lambda: block(states, text, time, rotary)


def _cross(
    path: str, heads: int, channels: int, queries: tuple[Segment, ...], text: Segment
) -> Layer:
    return Layer(0, "denoiser", path, "cross", heads, queries, (text,), head_dim=channels)


BLOCKS: Mapping[str, Callable[[tuple[int, int], Make], Built]] = {
    "sd35-large": sd35_large,
    "sdxl": sdxl,
    "flux-double": flux_double,
    "flux-single": flux_single,
    "llada-8b": llada_8b,
    "wan-14b": wan_14b,
}


def capture(
    block: Block, keep: Keep, steps: int, each: Callable[[Callable[[], Tensor]], Any]
) -> tuple[list[Any], int]:
    """Run a block through the engine with everything that `attn capture` does but writing files.

    Args:
        block: what runs.
        keep: the level of detail.
        steps: how often.
        each: takes what runs one step, runs it, and returns what the caller wants of it. A step
            begins with what the one before leaves to do.

    Returns:
        what `each` returned of every step, and the bytes that a step keeps.

    Raises:
        SystemExit: nothing was captured.
    """
    layer, rows = block.layer, block.run().shape[0]
    branches = (("uncond", 0), ("cond", 0))[-rows:]
    dtype = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[block.dtype]
    sequences = {branch: _sequence(layer) for branch, _ in branches}
    plan = make_plan([layer], sequences, keep, samples=1, steps=steps, dtype=dtype)
    kept: dict[str, int] = {}

    def generate(on_call: Callable[[Call], None]) -> list[Any]:
        done = []
        for step in range(steps):
            call = Call("denoiser", step, 999.0 - step, 1.0, branches, ())
            done.append(each(partial(_announced, on_call, call, block.run)))
        return done

    def write(trace: int, step: Step | None, tensors: Mapping[str, np.ndarray]) -> None:
        if step is not None:
            kept.update({name: values.nbytes for name, values in tensors.items()})

    done, _, _ = record({"denoiser": block.module}, [plan], 1, generate, write)
    if not kept:
        raise SystemExit("nothing was captured")
    return done, sum(kept.values())


def _announced(on_call: Callable[[Call], None], call: Call, run: Callable[[], Tensor]) -> Tensor:
    on_call(call)
    return run()


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


def largest_error(block: Block) -> float:
    """Return the largest difference of probabilities from float64, in some rows of every head."""
    errors: list[float] = []

    def see(path: str, attention: Attention) -> None:
        query, key, _ = attention.factors()
        rows = torch.linspace(0, query.shape[2] - 1, CHECKED, device=query.device).long()
        for head in range(query.shape[1]):
            logits = query[0, head, rows].double() @ key[0, head].double().mT * attention.scale
            ours = attention.probs(0, slice(head, head + 1), rows, slice(None))[0]
            errors.append(float((logits.softmax(-1) - ours).abs().max()))

    tapped: Any = tap(block.module, block.layer.path, keep="mass", see=see)
    with tapped:
        block.run()
    return max(errors)
