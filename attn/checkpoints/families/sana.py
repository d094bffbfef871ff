"""Sana: blocks of linear self-attention and of cross-attention."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.transformers import Published, Shapes, Transformer

_TRANSFORMER_BLOCK = f"transformer_blocks.{BLOCK}"
_SANA_BLOCK = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.inverted_conv.conv": ("ff.conv_inverted",),
    "mlp.depth_conv.conv": ("ff.conv_depth",),
    "mlp.point_conv.conv": ("ff.conv_point",),
}

LAYOUT = Naming(
    marks=("blocks.0.cross_attn.kv_linear.weight", "blocks.0.mlp.inverted_conv.conv.weight"),
    modules={
        "x_embedder.proj": ("patch_embed.proj",),
        "t_embedder.mlp.0": ("time_embed.emb.timestep_embedder.linear_1",),
        "t_embedder.mlp.2": ("time_embed.emb.timestep_embedder.linear_2",),
        "t_block.1": ("time_embed.linear",),
        **{f"y_embedder.y_proj.fc{at}": (f"caption_projection.linear_{at}",) for at in (1, 2)},
        "attention_y_norm": ("caption_norm",),
        **under(f"blocks.{BLOCK}", _TRANSFORMER_BLOCK, _SANA_BLOCK),
        "final_layer.linear": ("proj_out",),
    },
    tensors={
        f"blocks.{BLOCK}.scale_shift_table": f"{_TRANSFORMER_BLOCK}.scale_shift_table",
        "final_layer.scale_shift_table": "scale_shift_table",
    },
    unused=frozenset({"pos_embed", "y_embedder.y_embedding"}),
)
"""Sana, of NVIDIA Labs."""


def _shapes(width: int, blocks: int) -> Shapes:
    return {
        "x_embedder.proj.weight": (width, 32, 1, 1),
        f"blocks.{blocks - 1}.cross_attn.q_linear.weight": (width, width),
        f"blocks.{blocks}.cross_attn.q_linear.weight": None,
        "y_embedder.y_proj.fc1.weight": (width, 2304),
    }


FAMILY = FamilyFiles(
    name="sana",
    parts=("dit", "vae", "gemma2"),
    pipelines=("SanaPipeline",),
    transformer=Transformer(
        title="a model like Sana",
        layout=LAYOUT,
        authors="Sana",
        marks=(
            "caption_norm.weight",
            "time_embed.linear.weight",
            "transformer_blocks.0.attn2.to_q.weight",
            "transformer_blocks.0.ff.conv_inverted.weight",
        ),
        published=(
            Published("sana-1600m", "Sana 1600M", _shapes(2240, 20)),
            Published("sana-600m", "Sana 600M", _shapes(1152, 28)),
        ),
    ),
    tokenizers={
        "gemma2": [
            (f"Efficient-Large-Model/Sana_{name}_diffusers", "tokenizer")
            for name in ("1600M_1024px_BF16", "1600M_1024px", "600M_1024px")
        ]
    },
    loras=(
        LoraKind(
            "sana",
            "Sana",
            claims="sana",
            paths=(r"transformer_blocks_\d+_(?:.*_)?attn2_to_",),
            width=2240,
            evidence=("a second attention in transformer_blocks", "attention is 2240 wide"),
        ),
    ),
)
