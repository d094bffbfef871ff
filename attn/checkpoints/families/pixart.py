"""PixArt-Σ and -α: blocks of self- and cross-attention."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.transformers import Published, Shapes, Transformer

_TRANSFORMER_BLOCK = f"transformer_blocks.{BLOCK}"
_PIXART_BLOCK = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
}
_PIXART_EMBEDDERS = {"t": "timestep", "csize": "resolution", "ar": "aspect_ratio"}

LAYOUT = Naming(
    marks=("blocks.0.cross_attn.kv_linear.weight", "blocks.0.mlp.fc1.weight"),
    modules={
        "x_embedder.proj": ("pos_embed.proj",),
        **{
            f"{theirs}_embedder.mlp.{index}": (f"adaln_single.emb.{ours}_embedder.linear_{number}",)
            for theirs, ours in _PIXART_EMBEDDERS.items()
            for number, index in ((1, 0), (2, 2))
        },
        **{f"y_embedder.y_proj.fc{at}": (f"caption_projection.linear_{at}",) for at in (1, 2)},
        "t_block.1": ("adaln_single.linear",),
        **under(f"blocks.{BLOCK}", _TRANSFORMER_BLOCK, _PIXART_BLOCK),
        "final_layer.linear": ("proj_out",),
    },
    tensors={
        f"blocks.{BLOCK}.scale_shift_table": f"{_TRANSFORMER_BLOCK}.scale_shift_table",
        "final_layer.scale_shift_table": "scale_shift_table",
    },
    unused=frozenset({"pos_embed", "y_embedder.y_embedding"}),
)
"""PixArt-α and -Σ."""

_SIGMA: Shapes = {
    "x_embedder.proj.weight": (1152, 4, 2, 2),
    "blocks.27.mlp.fc2.weight": (1152, 4608),
    "blocks.28.mlp.fc2.weight": None,
    "y_embedder.y_proj.fc1.weight": (1152, 4096),
    "csize_embedder.mlp.0.weight": None,
}
_SIZES: Shapes = {"csize_embedder.mlp.0.weight": (384, 256)}
_ALPHA = "files of it are not read; give the diffusers folder that it was published in"

FAMILY = FamilyFiles(
    name="pixart",
    parts=("dit", "vae", "t5xxl"),
    pipelines=("PixArtSigmaPipeline", "PixArtAlphaPipeline"),
    transformer=Transformer(
        title="a model like PixArt-Σ",
        layout=LAYOUT,
        authors="PixArt",
        marks=(
            "adaln_single.linear.weight",
            "caption_projection.linear_1.weight",
            "pos_embed.proj.weight",
            "transformer_blocks.0.attn2.to_q.weight",
        ),
        published=(
            Published("pixart-sigma", "PixArt-Σ", _SIGMA),
            Published(None, "PixArt-α", {**_SIGMA, **_SIZES}, _ALPHA),
        ),
    ),
    loras=(
        LoraKind(
            "pixart",
            "PixArt",
            paths=(r"transformer_blocks_\d+_(?:.*_)?attn2_to_",),
            width=1152,
            evidence=("a second attention in transformer_blocks", "attention is 1152 wide"),
        ),
    ),
)
