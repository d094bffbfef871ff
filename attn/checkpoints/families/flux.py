"""FLUX.1: double- and single-stream blocks, in the layout of Black Forest Labs."""

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
from attn.checkpoints.streams import (
    ADDED,
    DOUBLE,
    DOUBLE_BLOCK,
    QUERY_KEY_VALUE,
    SINGLE,
    SINGLE_BLOCK,
)
from attn.checkpoints.transformers import Published, Shapes, Transformer

_DOUBLE = DOUBLE | {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE = SINGLE | {"modulation.lin": ("norm.linear",)}
_EMBEDDERS = {"time_in": "timestep", "vector_in": "text", "guidance_in": "guidance"}

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
        **under(f"double_blocks.{BLOCK}", DOUBLE_BLOCK, _DOUBLE),
        **under(f"single_blocks.{BLOCK}", SINGLE_BLOCK, _SINGLE),
        "final_layer.linear": ("proj_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    },
    swapped=frozenset({"final_layer.adaLN_modulation.1"}),
    parameters={"scale": "weight"},
    aliases=under(
        f"double_blocks.{BLOCK}",
        DOUBLE_BLOCK,
        {
            "qkv_lora1": QUERY_KEY_VALUE,
            "qkv_lora2": ADDED,
            "proj_lora1": ("attn.to_out.0",),
            "proj_lora2": ("attn.to_add_out",),
        },
    )
    | under(f"single_blocks.{BLOCK}", SINGLE_BLOCK, {"qkv": QUERY_KEY_VALUE}),
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


_MODULATION = "query, key, value and feed-forward are one module, or blocks share a modulation"
_FLUX2_NAMES = r"(?:double|single)_stream_modulation|.*_to_qkv_mlp_proj\Z|.*_ff_linear_in\Z"
_WIDTH_OF_DEV = 6144
_FLUX2_WIDTHS = (4096, _WIDTH_OF_DEV)
_FLUX2_SHAPES = ((r"single_blocks_\d+_linear1\Z", 9), (r"double_blocks_\d+_\w+_mlp_0\Z", 6))
"""Modules whose rows are so many times their columns; in FLUX.1 7 and 4 times."""
_DOUBLES, _SINGLES, _DOUBLES_OF_KLEIN = 19, 38, 5


def _recognise(changes: Changes) -> LoraFamily | None:
    """Recognise blocks of two and of one stream, FLUX.2's and larger ones, too."""
    if matches(changes, r"joint_blocks_\d+_"):
        return None  # a model of Stability's, whose modules are known by their names in all layouts
    if not matches(changes, r"(?:single_transformer|double|single)_blocks_\d+_"):
        is_wide = bool(joint_paths(changes)) and attention_width(changes) == _WIDTH
        if not is_wide or largest_number(changes, r"transformer_blocks_(\d{1,6})_") >= _DOUBLES:
            return None
    if sign := _flux2_sign(changes):
        is_dev = attention_width(changes) == _WIDTH_OF_DEV
        name, title = ("flux2-dev", "FLUX.2 dev") if is_dev else ("flux2", "FLUX.2 klein")
        return LoraFamily(name, title, (sign,), is_certain=True)
    double = largest_number(changes, r"(?:double|transformer)_blocks_(\d{1,6})_")
    single = largest_number(changes, r"single_(?:transformer_)?blocks_(\d{1,6})_")
    if double < _DOUBLES_OF_KLEIN and single < 0:
        evidence = (f"blocks of two streams up to {double}, {_WIDTH} wide, as in FLUX.2 klein too",)
        return LoraFamily("flux", "FLUX.1", evidence)
    evidence = (f"blocks of two streams up to {double}, of one up to {single}",)
    if double >= _DOUBLES or single >= _SINGLES:
        return LoraFamily(None, "unknown, with blocks as in FLUX.1 but more of them", evidence)
    return LoraFamily("flux", "FLUX.1", evidence, is_certain=True)


def _flux2_sign(changes: Changes) -> str | None:
    """Return what says that blocks are those of FLUX.2, if anything."""
    if matches(changes, _FLUX2_NAMES):
        return _MODULATION
    for path, shape in changes.items():
        for pattern, times in _FLUX2_SHAPES:
            if shape and re.match(pattern, path) and shape[0] == times * shape[1]:
                return f"{path} has {times} times as many rows as columns"
    width = attention_width(changes)
    return f"attention is {width} wide" if width in _FLUX2_WIDTHS else None


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
    loras=(LoraKind("flux", "FLUX.1", claims=r"flux(?!-?2)", is_joint=True, recognise=_recognise),),
)
