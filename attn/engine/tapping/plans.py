"""What the tap of a generation will keep, before it runs: nothing is computed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from attn.engine.heads import count_heads, has_sink
from attn.engine.layer_plans import Shapes
from attn.engine.plan import Keep
from attn.engine.tapping.layout import GENERATED, Layout
from attn.engine.tapping.options import is_count
from attn.engine.tapping.recording import PER_PART, Kernel, Tapped
from attn.engine.tapping.stretches import Stretch
from attn.errors import UsageError
from attn.trace.writer import predict_bytes

BYTES = {"F32": 4, "F16": 2}
SEGMENTS = 2
"""Prompt and text, of which every step has totals; beside them a sink may be."""


@dataclass(frozen=True)
class TapPlan:
    """What a tap keeps of a generation.

    Attributes:
        bytes: of all steps, in memory.
        saved: of the files of a saved trace, which repeats what is of single segments.
        layers: attention modules.
        steps: forwards that are kept.
        samples: rows of the batch.
        prompt: positions that are read first.
        new_tokens: that are written.
        level: of detail.
    """

    bytes: int
    saved: int
    layers: int
    steps: int
    samples: int
    prompt: int
    new_tokens: int
    level: str

    def __str__(self) -> str:
        return (
            f"{self.bytes / 1e6:,.1f} MB in memory, {self.saved / 1e6:,.1f} MB as files: "
            f"{self.samples} x {self.prompt} + {self.new_tokens} tokens, {self.layers} layers, "
            f"{self.steps} steps at keep='{self.level}'"
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
    shape = tuple(getattr(input_ids, "shape", ()))
    if len(shape) != 2 or not all(map(is_count, (*shape, new_tokens))):  # noqa: PLR2004 - axes
        raise UsageError(
            "plan: expected input_ids of (row, position) and 1 or more new tokens; got "
            f"{shape or type(input_ids).__name__} and {new_tokens!r:.60}"
        )
    samples, prompt = shape
    stretches = [Stretch(0, prompt)]
    stretches += [Stretch(prompt + at, prompt + at + 1) for at in range(new_tokens - 1)]
    kernels = [_kernel(module) for module in _attentions(modules)]
    held, written = 0, 0
    for stretch in stretches[::every]:
        of_kernels = {each: _shapes(keep, each, prompt, stretch) for each in set(kernels)}
        for kernel, shapes in of_kernels.items():
            held += samples * kernels.count(kernel) * _count_bytes(shapes)
        written += predict_bytes(
            {
                f"{index}/{name}": ((1, samples, *shape), dtype)
                for index, kernel in enumerate(kernels)
                for name, (shape, dtype) in _as_saved(of_kernels[kernel], stretch).items()
            }
        )
    steps = len(stretches[::every])
    return TapPlan(held, written, len(kernels), steps, samples, prompt, new_tokens, keep.level)


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
    return Kernel(heads, "text", "text", dim, key_heads, has_sink(module))


def _shapes(keep: Keep, kernel: Kernel, prompt: int, stretch: Stretch) -> Shapes:
    """Return what is kept of one row of a batch in one forward."""
    tapped = Tapped(keep, Layout(prompt=prompt))
    tapped.begin(0)
    tapped.step.stretch = stretch
    shapes = {
        name.partition("/")[2]: (
            (*shape[:-1], SEGMENTS + kernel.has_sink) if "/total." in name else shape,
            dtype,
        )
        for name, (shape, dtype) in tapped.plan_kernel(kernel).shapes().items()
    }
    return shapes | (_factors(kernel, stretch) if keep.level == "factors" else {})


def _factors(kernel: Kernel, stretch: Stretch) -> Shapes:
    width, key_heads = kernel.head_dim or 0, kernel.key_heads or kernel.heads
    factors: Shapes = {
        "query": ((kernel.heads, stretch.length, width), "F32"),
        "key": ((key_heads, stretch.stop, width), "F32"),
        "lse": ((kernel.heads, stretch.length), "F32"),
        "scale": ((), "F32"),
    }
    if stretch.length > 1:  # of what is written, a causal mask hides nothing
        factors["mask"] = ((1, stretch.length, stretch.stop), "F32")
    return factors


def _count_bytes(shapes: Shapes) -> int:
    """Return the size in memory, where maps have twice the bytes that they have in a file."""
    return sum(
        prod(shape) * (BYTES["F32"] if name.startswith("map.") else BYTES[dtype])
        for name, (shape, dtype) in shapes.items()
    )


def _as_saved(shapes: Shapes, stretch: Stretch) -> Shapes:
    """Add what is written again: what is of all rows of a step, as that of its segment."""
    part = "prompt" if stretch.length > 1 else GENERATED
    again = {
        f"{kind}.{part}{rest.removeprefix('all')}": entry
        for (kind, _, rest), entry in (
            (name.partition("."), entry) for name, entry in shapes.items()
        )
        if kind in PER_PART
    }
    return shapes | again
