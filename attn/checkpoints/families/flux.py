"""FLUX.1: double- and single-stream blocks, in the layout of Black Forest Labs."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles, LoraKind
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.transformers import Published, Shapes, Transformer

_QUERY_KEY_VALUE = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": _QUERY_KEY_VALUE,
    "txt_attn.qkv": _ADDED,
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
_SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": (*_QUERY_KEY_VALUE, "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
_EMBEDDERS = {"time_in": "timestep", "vector_in": "text", "guidance_in": "guidance"}
_DOUBLE_BLOCK, _SINGLE_BLOCK = f"transformer_blocks.{BLOCK}", f"single_transformer_blocks.{BLOCK}"

LAYOUT = Naming(
    marks=("double_blocks.0.img_mod.lin.weight",),
    modules={
        "img_in": ("x_embedder",),
        "txt_in": ("context_embedder",),
        **{
            f"{theirs}.{layer}_layer": (f"time_text_embed.{ours}_embedder.linear_{number}",)
            for theirs, ours in _EMBEDDERS.items()
            for number, layer in enumerate(("in", "out"), start=1)
        },
        **under(f"double_blocks.{BLOCK}", _DOUBLE_BLOCK, _DOUBLE),
        **under(f"single_blocks.{BLOCK}", _SINGLE_BLOCK, _SINGLE),
        "final_layer.linear": ("proj_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    },
    swapped=frozenset({"final_layer.adaLN_modulation.1"}),
    parameters={"scale": "weight"},
    aliases=under(
        f"double_blocks.{BLOCK}",
        _DOUBLE_BLOCK,
        {
            "qkv_lora1": _QUERY_KEY_VALUE,
            "qkv_lora2": _ADDED,
            "proj_lora1": ("attn.to_out.0",),
            "proj_lora2": ("attn.to_add_out",),
        },
    )
    | under(f"single_blocks.{BLOCK}", _SINGLE_BLOCK, {"qkv": _QUERY_KEY_VALUE}),
)
"""FLUX.1, of Black Forest Labs; the aliases are XLabs'."""

_WIDTH = 3072
_OTHER_INPUT = "its transformer takes more than noise; give a model that draws from text alone"


def _shapes(channels: int, *, is_guided: bool) -> Shapes:
    square = (_WIDTH, _WIDTH)
    return {
        "img_in.weight": (_WIDTH, channels),
        "double_blocks.18.img_attn.proj.weight": square,
        "double_blocks.19.img_attn.proj.weight": None,
        "single_blocks.37.linear2.weight": (_WIDTH, 5 * _WIDTH),
        "single_blocks.38.linear2.weight": None,
        "guidance_in.in_layer.weight": (_WIDTH, 256) if is_guided else None,
    }


_REPOSITORIES = ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell")
FAMILY = FamilyFiles(
    name="flux",
    parts=("dit", "vae", "clip_l", "t5xxl"),
    pipelines=("FluxPipeline",),
    transformer=Transformer(
        title="a model like FLUX.1",
        layout=LAYOUT,
        authors="BFL",
        marks=(
            "single_transformer_blocks.0.proj_mlp.weight",
            "transformer_blocks.0.norm1_context.linear.weight",
            "time_text_embed.text_embedder.linear_1.weight",
        ),
        published=(
            Published("flux-dev", "FLUX.1 dev", _shapes(64, is_guided=True)),
            Published("flux-schnell", "FLUX.1 schnell", _shapes(64, is_guided=False)),
            Published(None, "FLUX.1 Fill", _shapes(384, is_guided=True), _OTHER_INPUT),
            Published(None, "FLUX.1 Canny or Depth", _shapes(128, is_guided=True), _OTHER_INPUT),
        ),
    ),
    tokenizers={
        "clip_l": [(name, "tokenizer") for name in _REPOSITORIES],
        "t5xxl": [(name, "tokenizer_2") for name in _REPOSITORIES],
    },
    loras=(LoraKind("flux", "FLUX.1", claims=r"flux(?!-?2)", is_joint=True),),
)
