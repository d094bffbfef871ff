"""Blocks of two streams and of one, as Black Forest Labs names them: FLUX.1 and Chroma."""

from __future__ import annotations

from attn.checkpoints.layouts import BLOCK

QUERY_KEY_VALUE = ("attn.to_q", "attn.to_k", "attn.to_v")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
"""The same of the text's stream."""
DOUBLE_BLOCK, SINGLE_BLOCK = f"transformer_blocks.{BLOCK}", f"single_transformer_blocks.{BLOCK}"
"""Blocks in diffusers."""
DOUBLE: dict[str, tuple[str, ...]] = {
    "img_attn.qkv": QUERY_KEY_VALUE,
    "txt_attn.qkv": ADDED,
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
"""By the authors' path in a block of two streams, the modules of diffusers."""
SINGLE: dict[str, tuple[str, ...]] = {
    "linear1": (*QUERY_KEY_VALUE, "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
"""In a block of one stream."""
