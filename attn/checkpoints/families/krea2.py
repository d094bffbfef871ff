"""Krea 2: one stream of text and image, a gate on every attention, the text fused from layers."""

from __future__ import annotations

import re

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
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

_BLOCK = {
    "attn.wq": ("attn.to_q",),
    "attn.wk": ("attn.to_k",),
    "attn.wv": ("attn.to_v",),
    "attn.wo": ("attn.to_out.0",),
    "attn.gate": ("attn.to_gate",),
    "attn.qknorm.qnorm": ("attn.norm_q",),
    "attn.qknorm.knorm": ("attn.norm_k",),
    "mlp.gate": ("ff.gate",),
    "mlp.up": ("ff.up",),
    "mlp.down": ("ff.down",),
    "prenorm": ("norm1",),
    "postnorm": ("norm2",),
}
_STACKS = {"blocks": "transformer_blocks"} | {
    f"txtfusion.{name}": f"text_fusion.{name}" for name in ("layerwise_blocks", "refiner_blocks")
}
_FUSION = "txtfusion.projector"

LAYOUT = Naming(
    marks=(f"{_FUSION}.weight", "blocks.0.attn.gate.weight"),
    modules={
        "first": ("img_in",),
        "tmlp.0": ("time_embed.linear_1",),
        "tmlp.2": ("time_embed.linear_2",),
        "tproj.1": ("time_mod_proj",),
        _FUSION: ("text_fusion.projector",),
        "txtmlp.0": ("txt_in.norm",),
        "txtmlp.1": ("txt_in.linear_1",),
        "txtmlp.3": ("txt_in.linear_2",),
        **{
            path: modules
            for theirs, ours in _STACKS.items()
            for path, modules in under(f"{theirs}.{BLOCK}", f"{ours}.{BLOCK}", _BLOCK).items()
        },
        "last.norm": ("final_layer.norm",),
        "last.linear": ("final_layer.linear",),
    },
    parameters={"scale": "weight"},
    tensors={
        f"blocks.{BLOCK}.mod.lin": f"transformer_blocks.{BLOCK}.scale_shift_table",
        "last.modulation.lin": "final_layer.scale_shift_table",
    },
)
"""Krea 2, of Krea AI."""

_WIDTH, _KEYS = 6144, 1536
_SHAPES: Shapes = {
    "first.weight": (_WIDTH, 64),
    "txtmlp.1.weight": (_WIDTH, 2560),
    "blocks.27.attn.wk.weight": (_KEYS, _WIDTH),
    "blocks.28.attn.wk.weight": None,
}
_NAMES = (
    r"(?:blocks_\d+_(?:attn_(?:w[qkvo]|gate)|mlp_(?:gate|up|down))\Z|txtfusion_|text_fusion_"
    r"|transformer_blocks_\d+_(?:attn_to_gate|ff_(?:gate|up|down))\Z)"
)
_DOUBLES_OF_FLUX2 = 8


def _recognise(changes: Changes) -> LoraFamily | None:
    """Recognise gates, or attention as wide as FLUX.2's with fewer keys or in more blocks."""
    if matches(changes, _NAMES):
        evidence = "attention has a gate, or the text a fusion of its own"
    elif (
        joint_paths(changes)
        and attention_width(changes) == _WIDTH
        and not matches(changes, "single_transformer_blocks_")
        and (
            largest_number(changes, r"transformer_blocks_(\d{1,6})_") >= _DOUBLES_OF_FLUX2
            or any(
                shape and shape[0] == _KEYS and re.search(r"_attn_to_[kv]\Z", path)
                for path, shape in changes.items()
            )
        )
    ):
        than = "in more blocks or with fewer keys than FLUX.2"
        evidence = f"joint attention is {_WIDTH} wide, {than}"
    else:
        return None
    return LoraFamily("krea2", "Krea 2", (evidence,), is_certain=True)


_REPOSITORIES = ("krea/Krea-2-Turbo", "krea/Krea-2-Raw")

FAMILY = FamilyFiles(
    name="krea2",
    parts=("dit", "vae", "qwen3vl"),
    pipelines=("Krea2Pipeline",),
    transformer=Transformer(
        title="a model like Krea 2",
        layout=LAYOUT,
        authors="Krea",
        marks=("text_fusion.projector.weight", "transformer_blocks.0.attn.to_gate.weight"),
        published=(Published("krea2", "Krea 2 Raw or Turbo", _SHAPES),),
    ),
    tokenizers={"qwen3vl": [(name, "tokenizer") for name in _REPOSITORIES]},
    loras=(LoraKind("krea2", "Krea 2", claims="krea-?2", is_joint=True, recognise=_recognise),),
)
