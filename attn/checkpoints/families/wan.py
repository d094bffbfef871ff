"""Wan 2.1: video in blocks of self-attention and of cross-attention to the text."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.transformers import Published, Shapes, Transformer

_BLOCK = f"blocks.{BLOCK}"
_OF_BLOCK = {
    **{
        f"{theirs}.{end}": (f"{ours}.{path}",)
        for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for end, path in (
            *((name, f"to_{name}") for name in "qkv"),
            ("o", "to_out.0"),
            *((name, name) for name in ("norm_q", "norm_k")),
        )
    },
    "ffn.0": ("ffn.net.0.proj",),
    "ffn.2": ("ffn.net.2",),
    "norm3": ("norm2",),
}
_EMBEDDER = "condition_embedder"

LAYOUT = Naming(
    marks=("blocks.0.self_attn.q.weight", "blocks.0.ffn.0.weight"),
    modules={
        "patch_embedding": ("patch_embedding",),
        **{
            f"{theirs}_embedding.{at}": (f"{_EMBEDDER}.{ours}_embedder.linear_{number}",)
            for theirs, ours in (("time", "time"), ("text", "text"))
            for at, number in ((0, 1), (2, 2))
        },
        "time_projection.1": (f"{_EMBEDDER}.time_proj",),
        **under(_BLOCK, _BLOCK, _OF_BLOCK),
        "head.head": ("proj_out",),
    },
    tensors={
        f"{_BLOCK}.modulation": f"{_BLOCK}.scale_shift_table",
        "head.modulation": "scale_shift_table",
    },
)
"""Wan, of Alibaba."""

OTHER_INPUT = (
    "its transformer can read pictures (image-to-video, or 2.2 TI2V), which the backend wan does "
    "not give it: take Wan 2.1 text-to-video, or call the pipeline yourself and record it with "
    "attn.tap"
)


def _shapes(width: int, blocks: int) -> Shapes:
    return {
        "patch_embedding.weight": (width, 16, 1, 2, 2),
        f"blocks.{blocks - 1}.self_attn.q.weight": (width, width),
        f"blocks.{blocks}.self_attn.q.weight": None,
        "text_embedding.0.weight": (width, 4096),
    }


def _reading(width: int, channels: int) -> Shapes:
    return {"patch_embedding.weight": (width, channels, 1, 2, 2)}


_REPOSITORIES = ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-14B-Diffusers")

FAMILY = FamilyFiles(
    name="wan",
    parts=("dit", "vae", "umt5xxl"),
    pipelines=("WanPipeline",),
    transformer=Transformer(
        title="a model like Wan",
        layout=LAYOUT,
        authors="Wan",
        marks=(
            "condition_embedder.time_proj.weight",
            "blocks.0.attn2.to_q.weight",
            "blocks.0.scale_shift_table",
        ),
        published=(
            Published("wan2.1-t2v-1.3b", "Wan 2.1 T2V 1.3B", _shapes(1536, 30)),
            Published("wan2.1-t2v-14b", "Wan 2.1 T2V 14B", _shapes(5120, 40)),
            *(
                Published(None, "Wan image-to-video", _reading(width, channels), OTHER_INPUT)
                for width, channels in ((5120, 36), (1536, 36), (3072, 48))
            ),
        ),
    ),
    tokenizers={"umt5xxl": [(name, "tokenizer") for name in _REPOSITORIES]},
    loras=(
        LoraKind(
            "wan",
            "Wan",
            claims="wan",
            paths=(
                r"blocks_\d+_(?:self_attn_[qkvo]\Z|cross_attn_(?:[kv]_img|[qkvo])\Z|ffn_[02]\Z"
                r"|attn[12]_(?:to_|add_)|ffn_net_)",
            ),
            evidence=("blocks have a self-attention, a cross-attention and a feed-forward ffn",),
            is_certain=True,
        ),
    ),
)
