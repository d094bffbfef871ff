"""What the tap of a generation will keep, before it runs: nothing is computed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from attn.engine.heads import count_heads
from attn.engine.plan import Keep
from attn.engine.tapping.layout import Layout
from attn.engine.tapping.recording import Kernel, Tapped
from attn.engine.tapping.stretches import Stretch
from attn.errors import UsageError

BYTES = {"F32": 4, "F16": 2}
SEGMENTS = 2
"""Prompt and text, of which every step has totals."""


@dataclass(frozen=True)
class TapPlan:
    """What a tap keeps of a generation.

    Attributes:
        bytes: of all steps, in memory; a saved trace repeats what is of single segments.
        layers: attention modules.
        steps: forwards that are kept.
        samples: rows of the batch.
        prompt: positions that are read first.
        new_tokens: that are written.
        level: of detail.
    """

    bytes: int
    layers: int
    steps: int
    samples: int
    prompt: int
    new_tokens: int
    level: str

    def __str__(self) -> str:
        return (
            f"{self.bytes / 1e6:,.1f} MB: {self.samples} x {self.prompt} + {self.new_tokens} "
            f"tokens, {self.layers} layers, {self.steps} steps at keep='{self.level}'"
        )


def make_tap_plan(
    modules: Mapping[str, nn.Module],
    keep: Keep,
    every: int,
    input_ids: Tensor,
    new_tokens: int,
) -> TapPlan:
    """Count what the tap of a generation with a cache keeps.

    Args:
        modules: that are watched, by path; those whose class is called attention are counted.
        keep: what is kept of each.
        every: keep only every so many forwards.
        input_ids: (row, position), on any device.
        new_tokens: that are written; the last is never read.

    Raises:
        UsageError: ids have another shape, or no module is called attention or says its heads.
    """
    if input_ids.ndim != 2 or new_tokens < 1:  # noqa: PLR2004 - (row, position)
        raise UsageError(
            "plan: expected input_ids of (row, position) and 1 or more new tokens; got "
            f"{tuple(input_ids.shape)} and {new_tokens}"
        )
    samples, prompt = input_ids.shape
    stretches = [Stretch(0, prompt)]
    stretches += [Stretch(prompt + at, prompt + at + 1) for at in range(new_tokens - 1)]
    kernels = [_kernel(module) for module in _attentions(modules)]
    size = 0
    for kernel in set(kernels):
        each = sum(_bytes(keep, kernel, prompt, stretch) for stretch in stretches[::every])
        size += samples * each * kernels.count(kernel)
    steps = len(stretches[::every])
    return TapPlan(size, len(kernels), steps, samples, prompt, new_tokens, keep.level)


def _attentions(modules: Mapping[str, nn.Module]) -> list[nn.Module]:
    """Return the modules that are called attention and have none such inside."""
    named = [module for module in modules.values() if _is_attention(module)]
    innermost = [
        module for module in named if not any(map(_is_attention, list(module.modules())[1:]))
    ]
    if not innermost or not all(map(count_heads, innermost)):
        raise UsageError(
            "plan: none of the tapped modules is called attention and says its number of heads; "
            "tap a few tokens and see trace.manifest.shards, whose bytes grow with the text"
        )
    return innermost


def _is_attention(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "attention" in name or "attn" in name


def _kernel(module: nn.Module) -> Kernel:
    heads = count_heads(module) or 0
    config: Any = getattr(module, "config", None)
    width = getattr(config, "hidden_size", 0) or 0
    dim = getattr(module, "head_dim", None) or width // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return Kernel(heads, "text", "text", dim, key_heads)


def _bytes(keep: Keep, kernel: Kernel, prompt: int, stretch: Stretch) -> int:
    """Return the size of what is kept of one row of a batch in one forward."""
    tapped = Tapped(keep, Layout(prompt=prompt))
    tapped.begin(0)
    tapped.step.stretch = stretch
    shapes = tapped.plan_kernel(kernel).shapes()
    size = sum(
        prod((*shape[:-1], SEGMENTS) if "/total." in name else shape)
        * (BYTES["F32"] if "/map." in name else BYTES[dtype])  # halved only in a file
        for name, (shape, dtype) in shapes.items()
    )
    if keep.level == "factors":
        queries = kernel.heads * stretch.length * ((kernel.head_dim or 0) + 1)
        keys = (kernel.key_heads or kernel.heads) * stretch.stop * (kernel.head_dim or 0)
        size += 4 * (queries + keys + 1)
    return size
