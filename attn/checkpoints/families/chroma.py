"""Chroma: the blocks of FLUX.1, whose modulation one small network makes of the time."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.streams import DOUBLE, DOUBLE_BLOCK, SINGLE, SINGLE_BLOCK
from attn.checkpoints.transformers import Published, Shapes, Transformer

_APPROXIMATOR = "distilled_guidance_layer"
_LAYER = f"{_APPROXIMATOR}.layers.{BLOCK}"

LAYOUT = Naming(
    marks=("double_blocks.0.img_attn.qkv.weight", f"{_APPROXIMATOR}.in_proj.weight"),
    modules={
        "img_in": ("x_embedder",),
        "txt_in": ("context_embedder",),
        f"{_LAYER}.in_layer": (f"{_LAYER}.linear_1",),
        f"{_LAYER}.out_layer": (f"{_LAYER}.linear_2",),
        **under(f"double_blocks.{BLOCK}", DOUBLE_BLOCK, DOUBLE),
        **under(f"single_blocks.{BLOCK}", SINGLE_BLOCK, SINGLE),
        "final_layer.linear": ("proj_out",),
    },
    parameters={"scale": "weight"},
    tensors={
        f"{_APPROXIMATOR}.norms.{BLOCK}.scale": f"{_APPROXIMATOR}.norms.{BLOCK}.weight",
    },
)
"""Chroma, of lodestones; what is not listed is called the same in both layouts."""

_WIDTH = 3072
_SHAPES: Shapes = {
    "img_in.weight": (_WIDTH, 64),
    "txt_in.weight": (_WIDTH, 4096),
    "double_blocks.18.img_attn.proj.weight": (_WIDTH, _WIDTH),
    "double_blocks.19.img_attn.proj.weight": None,
    "single_blocks.37.linear2.weight": (_WIDTH, 5 * _WIDTH),
    "single_blocks.38.linear2.weight": None,
}
_REPOSITORIES = ("lodestones/Chroma1-HD", "lodestones/Chroma1-Base")

FAMILY = FamilyFiles(
    name="chroma",
    parts=("dit", "vae", "t5xxl"),
    pipelines=("ChromaPipeline",),
    transformer=Transformer(
        title="a model like Chroma",
        layout=LAYOUT,
        authors="BFL",
        marks=(
            f"{_APPROXIMATOR}.in_proj.weight",
            "single_transformer_blocks.0.proj_mlp.weight",
        ),
        published=(Published("chroma1", "Chroma1", _SHAPES),),
    ),
    tokenizers={"t5xxl": [(name, "tokenizer") for name in _REPOSITORIES]},
    loras=(
        LoraKind(
            "chroma",
            "Chroma",
            claims="chroma",
            is_joint=True,
            paths=(rf"{_APPROXIMATOR}_",),
            evidence=("it changes the network that makes the modulation",),
            is_certain=True,
        ),
    ),
)
