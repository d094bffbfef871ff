"""Z-Image: one stream of image and text, in the layout of Tongyi."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.transformers import Published, Shapes, Transformer

_STACKS = ("layers", "noise_refiner", "context_refiner")
_ATTENTION = {
    "qkv": ("to_q", "to_k", "to_v"),
    "out": ("to_out.0",),
    "q_norm": ("norm_q",),
    "k_norm": ("norm_k",),
}
_FINAL = "all_final_layer.2-1"

LAYOUT = Naming(
    marks=("layers.0.attention.qkv.weight", "layers.0.adaLN_modulation.0.weight"),
    modules={
        "x_embedder": ("all_x_embedder.2-1",),
        **{
            theirs: ours
            for stack in _STACKS
            for theirs, ours in under(
                f"{stack}.{BLOCK}.attention", f"{stack}.{BLOCK}.attention", _ATTENTION
            ).items()
        },
        "final_layer.linear": (f"{_FINAL}.linear",),
        "final_layer.adaLN_modulation.1": (f"{_FINAL}.adaLN_modulation.1",),
    },
    unused=frozenset({"norm_final.weight"}),
)
"""Z-Image, of Tongyi-MAI; what is not listed is called the same in both layouts."""

_SHAPES: Shapes = {
    "cap_embedder.1.weight": (3840, 2560),
    "layers.29.attention.out.weight": (3840, 3840),
    "layers.30.attention.out.weight": None,
    "siglip_embedder.1.weight": None,
}

FAMILY = FamilyFiles(
    name="z-image",
    parts=("dit", "vae", "qwen3"),
    pipelines=("ZImagePipeline",),
    transformer=Transformer(
        title="a model like Z-Image",
        layout=LAYOUT,
        authors="Z-Image",
        marks=("all_x_embedder.2-1.weight", "cap_pad_token"),
        published=(Published("z-image-turbo", "Z-Image or Z-Image-Turbo", _SHAPES),),
    ),
    tokenizers={
        "qwen3": [
            (name, "tokenizer") for name in ("Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image")
        ]
    },
    loras=(
        LoraKind(
            "z-image",
            "Z-Image",
            claims=r"z-?image",
            is_joint=True,
            paths=(rf"(?:{'|'.join(_STACKS)})_\d+_(?:attention|feed_forward|adaLN_modulation)_",),
            evidence=("blocks are called layers, with a module attention",),
        ),
    ),
)
