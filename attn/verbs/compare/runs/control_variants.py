"""Controls of LoRA variants: random changes, one block alone or left out, stacks without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from attn.errors import UsageError
from attn.schema import Lora
from attn.verbs.compare.options import ControlOptions
from attn.verbs.lora_specs import LoraVariant, name_variants

Stack = tuple[Lora, ...]
NULL_SEED = 0
"""Of the random changes of `--null`; `FILE:null=SEED` takes another."""
FEWEST = 2
"""LoRAs of a stack of which each can be left out, and blocks of which each can be turned off."""


def add_controls(
    variants: Sequence[LoraVariant], options: ControlOptions
) -> tuple[LoraVariant, ...]:
    """Return variants with the controls that are asked for, each behind the one that it is of.

    Raises:
        UsageError: there is nothing to turn off: a stack of one, or a LoRA of one block.
        ModelError: a file cannot be read.
    """
    if not (options.null or options.by_block or options.leave_one_out):
        return tuple(variants)
    stacks: dict[Stack, None] = {}
    for variant in variants:
        stacks |= dict.fromkeys((variant.loras, *_controls(variant, options)))
    if options.leave_one_out and not any(len(variant.loras) >= FEWEST for variant in variants):
        labels = ", ".join(variant.label for variant in variants)
        raise UsageError(
            f"leave_one_out takes a stack of LoRAs apart; got {labels}. Give a stack, such as "
            "--lora a.safetensors:0.8+b.safetensors, or leave --leave-one-out out"
        )
    return name_variants(list(stacks))


def _controls(variant: LoraVariant, options: ControlOptions) -> Iterator[Stack]:
    stack = variant.loras
    if options.null and all(lora.null is None for lora in stack):
        yield tuple(replace(lora, null=NULL_SEED) for lora in stack)
    if options.leave_one_out and len(stack) >= FEWEST:
        yield from (stack[:at] + stack[at + 1 :] for at in range(len(stack)))
    if options.by_block:
        yield from _by_block(variant)


def _by_block(variant: LoraVariant) -> Iterator[Stack]:
    """Yield a LoRA in each of its blocks alone, then without each of them.

    Raises:
        UsageError: it is a stack, is restricted or random already, or has a single block.
    """
    from attn.lora import read
    from attn.lora.block_weights import sweep_blocks

    lora = variant.loras[0]
    if len(variant.loras) > 1:
        raise UsageError(
            f"by_block: {variant.label} is a stack; give each of its LoRAs as a --lora of its own"
        )
    if lora.null is not None:
        return
    if lora.modules:
        raise UsageError(
            f"by_block goes through all blocks; give {lora.path} without {lora.selection}"
        )
    blocks = sweep_blocks(read(Path(lora.path), adapter=lora.adapter))
    if len(blocks) < FEWEST:
        (names,) = blocks.values()
        raise UsageError(
            f"by_block: {variant.label} changes nothing outside of {', '.join(names)}, so there is "
            "no other block to compare with; leave --by-block out"
        )
    for names in blocks.values():
        yield (replace(lora, modules=names),)
    for names in blocks.values():
        yield (replace(lora, modules=tuple(f"!{name}" for name in names)),)
