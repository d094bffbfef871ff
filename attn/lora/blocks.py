"""Where a module stands in its network: its block, the block's place in the order, its purpose."""

from __future__ import annotations

import re
from typing import NamedTuple

from attn.lora.names import underscored

TARGETS = (
    "cross_attention",
    "self_attention",
    "joint_attention",
    "attention",
    "fused",
    "feed_forward",
    "projection",
    "convolution",
    "conditioning",
    "embedding",
    "norm",
    "other",
)
"""What modules are for, in the order of reports. `fused` is attention and feed-forward in one,
`attention` the second one of a block whose family is open."""


class Block(NamedTuple):
    """A block of a network: its place in the order of execution, and its name."""

    order: tuple[int, ...]
    name: str


_INPUT, _DOWN, _MIDDLE, _UP, _DEEP, _SINGLE, _OUTPUT, _ELSEWHERE = range(8)
_SAMPLER = 99  # comes after all layers of its block

_KINDS = {"resnets": 0, "attentions": 1, "downsamplers": 2, "upsamplers": 2}
_PARTS = "|".join(_KINDS)
_NUMBER = r"\d{1,6}"
_STACKS = (
    "joint_transformer_blocks|single_transformer_blocks|transformer_blocks|joint_blocks"
    "|double_blocks|single_blocks|double_layers|single_layers|blocks|layers|block"
)
_BEFORE = re.compile(
    r"conv_in|time_emb|label_emb|add_embedding|[xty]_embedder|context_embedder|pos_embed"
    r"|time_text_embed|(?:img|txt|time|vector|guidance)_in|(?:text_model_)?embeddings|shared"
)
_AFTER = re.compile(r"out_|conv_out|conv_norm_out|norm_out|proj_out|final_layer|text_projection")


def block_of(path: str) -> Block:
    """Return the block of a module.

    Args:
        path: inside its tower, with dots or underscores.
    """
    name = underscored(path)
    block = _unet_block(name) or _stacked_block(name)
    if block:
        return block
    if _BEFORE.match(name):
        return Block((_INPUT,), "input")
    return Block((_OUTPUT,), "output") if _AFTER.match(name) else Block((_ELSEWHERE,), "elsewhere")


def _unet_block(name: str) -> Block | None:
    """Recognise blocks of UNets: in both spellings, one entry for each ResNet and transformer."""
    if match := re.match(rf"(input|output)_blocks_({_NUMBER})_({_NUMBER})(?=_|\Z)", name):
        side, first, second = match[1], int(match[2]), int(match[3])
        order = (_DOWN if side == "input" else _UP, first, second)
        return Block(order, f"{side}_blocks.{first}.{second}")
    if match := re.match(rf"middle_block_({_NUMBER})(?=_|\Z)", name):
        return Block((_MIDDLE, int(match[1])), f"middle_block.{match[1]}")
    if match := re.match(rf"(down|up)_blocks_({_NUMBER})_({_PARTS})_({_NUMBER})(?=_|\Z)", name):
        side, level, kind, layer = match[1], int(match[2]), match[3], int(match[4])
        rank = _SAMPLER if kind.endswith("samplers") else layer
        stage = _DOWN if side == "down" else _UP
        name = f"{side}_blocks.{level}.{kind}.{layer}"
        return Block((stage, level, rank, _KINDS[kind]), name)
    if match := re.match(rf"mid_block_(resnets|attentions)_({_NUMBER})(?=_|\Z)", name):
        index = 2 * int(match[2]) + _KINDS[match[1]]  # ResNet, transformer, ResNet
        return Block((_MIDDLE, index), f"mid_block.{match[1]}.{match[2]}")
    return None


def _stacked_block(name: str) -> Block | None:
    """Recognise the numbered blocks of a transformer or text encoder."""
    match = re.search(rf"(?:\A|_)({_STACKS})_({_NUMBER})(?=_|\Z)", name)
    if match is None:
        return None
    stage = _SINGLE if match[1].startswith("single") else _DEEP
    return Block((stage, int(match[2])), f"{match[1]}.{match[2]}")


_PURPOSES: tuple[tuple[str, str], ...] = (
    (
        "conditioning",
        r"time_emb|emb_layers|label_emb|add_embedding|(?:\A|_)[ty]_embedder|time_text_embed"
        r"|modulation|(?:img|txt)_mod_lin|norm\d?(?:_context)?_linear|norm_out_linear"
        r"|(?:time|vector|guidance)_in",
    ),
    (
        "embedding",
        r"x_embedder|context_embedder|pos_embed|(?:img|txt)_in\Z|_embedding\Z|shared\Z",
    ),
    ("norm", r"norm\d?\Z|_norm_[qk]\Z|layer_norm\d?\Z|_ln_[qk]\Z|group_norm\Z"),
    ("fused", r"single_blocks_\d+_linear[12]|single_transformer_blocks_\d+_proj_out"),
    ("self_attention", r"_attn1_|self_attn|SelfAttention|_block_attn2_"),
    ("cross_attention", r"cross_attn|EncDecAttention"),
    ("joint_attention", r"_attn_|_attention_|_qkv\Z|(?:img|txt)_attn"),
    ("feed_forward", r"_ff(?:_context)?_|mlp|DenseReluDense|feed_forward"),
    (
        "convolution",
        r"resnets|(?:in|out)_layers|skip_connection|samplers|_op\Z|_conv\d?\Z|conv_(?:in|out)"
        r"|input_blocks_0_0\Z|\Aout_2\Z",
    ),
    ("projection", r"proj_in|proj_out|text_projection|final_layer_linear"),
)


def target_of(path: str, *, is_joint: bool | None) -> str:
    """Return the purpose of a module, one of `TARGETS`.

    Args:
        path: inside its tower, with dots or underscores.
        is_joint: whether the family's transformer attends jointly; then a second attention of a
            block is the image's self-attention. None leaves open what that is.
    """
    name = underscored(path)
    if "_attn2_" in name and is_joint is None:
        return "attention"
    if "_attn2_" in name:
        return "self_attention" if is_joint else "cross_attention"
    return next((purpose for purpose, pattern in _PURPOSES if re.search(pattern, name)), "other")
