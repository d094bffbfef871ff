"""FLUX.2 klein: blocks of two streams and of one, whose modulation all of them share."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.layouts import BLOCK, Naming, under
from attn.checkpoints.lora_kinds import LoraKind
from attn.checkpoints.streams import DOUBLE, DOUBLE_BLOCK, SINGLE, SINGLE_BLOCK
from attn.checkpoints.transformers import Published, Shapes, Transformer

_DOUBLE = DOUBLE | {
    "img_mlp.0": ("ff.linear_in",),
    "img_mlp.2": ("ff.linear_out",),
    "txt_mlp.0": ("ff_context.linear_in",),
    "txt_mlp.2": ("ff_context.linear_out",),
}
_SINGLE = SINGLE | {"linear1": ("attn.to_qkv_mlp_proj",), "linear2": ("attn.to_out",)}
_MODULATIONS = ("double_stream_modulation_img", "double_stream_modulation_txt")
_EMBEDDERS = {"time_in": "timestep", "guidance_in": "guidance"}

LAYOUT = Naming(
    marks=("double_stream_modulation_img.lin.weight", "single_blocks.0.linear1.weight"),
    modules={
        "img_in": ("x_embedder",),
        "txt_in": ("context_embedder",),
        **{
            f"{theirs}.{layer}_layer": (f"time_guidance_embed.{ours}_embedder.linear_{number}",)
            for theirs, ours in _EMBEDDERS.items()
            for number, layer in enumerate(("in", "out"), start=1)
        },
        **{
            f"{name}.lin": (f"{name}.linear",)
            for name in (*_MODULATIONS, "single_stream_modulation")
        },
        **under(f"double_blocks.{BLOCK}", DOUBLE_BLOCK, _DOUBLE),
        **under(f"single_blocks.{BLOCK}", SINGLE_BLOCK, _SINGLE),
        "final_layer.linear": ("proj_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    },
    swapped=frozenset({"final_layer.adaLN_modulation.1"}),
    parameters={"scale": "weight"},
)
"""FLUX.2, of Black Forest Labs."""


def _shapes(width: int, text: int, double: int, single: int) -> Shapes:
    square = (width, width)
    return {
        "img_in.weight": (width, 128),
        "txt_in.weight": (width, text),
        f"double_blocks.{double - 1}.img_attn.proj.weight": square,
        f"double_blocks.{double}.img_attn.proj.weight": None,
        f"single_blocks.{single - 1}.linear2.weight": (width, 4 * width),
        f"single_blocks.{single}.linear2.weight": None,
    }


_OF_DEV = "its text encoder is Mistral Small, which is not read here; give FLUX.2 klein"

FAMILY = FamilyFiles(
    name="flux2",
    parts=("dit", "vae", "qwen3"),
    pipelines=("Flux2KleinPipeline",),
    transformer=Transformer(
        title="a model like FLUX.2 klein",
        layout=LAYOUT,
        authors="BFL",
        marks=(
            "double_stream_modulation_img.linear.weight",
            "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight",
        ),
        published=(
            Published("flux2-klein-4b", "FLUX.2 klein 4B", _shapes(3072, 7680, 5, 20)),
            Published("flux2-klein-9b", "FLUX.2 klein 9B", _shapes(4096, 12288, 8, 24)),
            Published(None, "FLUX.2 dev", _shapes(6144, 15360, 8, 48), _OF_DEV),
        ),
    ),
    tokenizers={
        "qwen3": [
            (f"black-forest-labs/FLUX.2-klein-{size}", "tokenizer")
            for size in ("4B", "9B", "base-4B", "base-9B")
        ]
    },
    loras=(LoraKind("flux2", "FLUX.2 klein", claims=r"flux-?2(?!.*dev)", is_joint=True),),
)
"""What tells its LoRAs from FLUX.1's stands with that."""
