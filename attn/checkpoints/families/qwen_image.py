"""Qwen-Image: double-stream blocks, which its authors name as diffusers does."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import Naming
from attn.checkpoints.lora_kinds import (
    Changes,
    LoraFamily,
    LoraKind,
    attention_width,
    joint_paths,
    largest_number,
    matches,
)
from attn.checkpoints.transformers import Published, Shapes, Transformer

_MARKS = ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight")
_WIDTH, _BLOCKS_OF_FLUX = 3072, 19
_SHAPES: Shapes = {
    "txt_in.weight": (_WIDTH, 3584),
    "img_in.weight": (_WIDTH, 64),
    "transformer_blocks.59.img_mod.1.weight": (6 * _WIDTH, _WIDTH),
    "transformer_blocks.60.img_mod.1.weight": None,
}


def _recognise(changes: Changes) -> LoraFamily | None:
    """Recognise by streams of their own names, or by more blocks than others of this width have."""
    if matches(changes, r"transformer_blocks_\d+_(?:img|txt)_(?:mlp|mod)_"):
        evidence = "blocks have img_mlp and txt_mlp"
    elif (
        joint_paths(changes)
        and attention_width(changes) == _WIDTH
        and largest_number(changes, r"transformer_blocks_(\d{1,6})_") >= _BLOCKS_OF_FLUX
        and not matches(changes, "single_transformer_blocks_")
    ):
        evidence = f"joint attention is {_WIDTH} wide, in more blocks than FLUX.1 has"
    else:
        return None
    return LoraFamily("qwen-image", "Qwen-Image", (evidence,), is_certain=True)


FAMILY = FamilyFiles(
    name="qwen-image",
    parts=("dit", "vae", "qwen25vl"),
    pipelines=("QwenImagePipeline",),
    transformer=Transformer(
        title="a model like Qwen-Image",
        layout=Naming(marks=_MARKS, modules={}),
        authors="diffusers",
        marks=_MARKS,
        published=(Published("qwen-image", "Qwen-Image", _SHAPES),),
    ),
    tokenizers={"qwen25vl": [("Qwen/Qwen-Image", "tokenizer")]},
    loras=(
        LoraKind(
            "qwen-image", "Qwen-Image", claims=r"qwen-?image", is_joint=True, recognise=_recognise
        ),
    ),
)
