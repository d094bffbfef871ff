"""Where a transformer's modules are in its authors' layout and in diffusers', as data.

One table serves the loading of checkpoint files and the placing of LoRAs. Converters of the library
know the published widths only, and none of the way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK = "#"
"""Stands for the number of a block in the paths of a layout."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class Naming:
    """The names of one kind of transformer.

    Attributes:
        marks: tensors that together only the authors' layout has, with block 0.
        modules: by the authors' path, the modules of diffusers whose rows follow one another in it.
        swapped: authors' paths whose rows have their two halves in the other order.
        parameters: authors' names of parameters, where they differ.
        aliases: further names that LoRAs have for the modules of diffusers.
        tensors: by the authors' name, tensors of diffusers that are no module's weight or bias.
        unused: tensors in files of the authors that the models of diffusers compute.
    """

    marks: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    swapped: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()

    def is_of(self, names: Mapping[str, object]) -> bool:
        """Whether these tensors are named as the authors name them."""
        return all(mark in names for mark in self.marks)

    def targets(self, name: str) -> tuple[str, ...] | None:
        """Return diffusers' tensors that make up one of the authors'; None for no such tensor."""
        pattern, number = numbered(name)
        if pattern in self.tensors:
            return (self.tensors[pattern].replace(BLOCK, number),)
        stem, _, parameter = name.rpartition(".")
        pattern, number = numbered(stem)
        paths = self.modules.get(pattern)
        if paths is None:
            return None
        ending = self.parameters.get(parameter, parameter)
        return tuple(f"{path.replace(BLOCK, number)}.{ending}" for path in paths)

    def is_swapped(self, name: str) -> bool:
        """Whether the halves of a tensor of the authors have the other order."""
        return name.rpartition(".")[0] in self.swapped


def numbered(path: str) -> tuple[str, str]:
    """Return a path with `BLOCK` for the number of its block, and that number, if it has one."""
    match = _NUMBER.search(path)
    if match is None:
        return path, ""
    return f"{path[: match.start()]}{BLOCK}{path[match.end() :]}", match[0]


def _under(
    prefix: str, ours: str, inside: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    return {
        f"{prefix}.{name}": tuple(f"{ours}.{path}" for path in paths)
        for name, paths in inside.items()
    }


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

FLUX = Naming(
    marks=("double_blocks.0.img_mod.lin.weight",),
    modules={
        "img_in": ("x_embedder",),
        "txt_in": ("context_embedder",),
        **{
            f"{theirs}.{layer}_layer": (f"time_text_embed.{ours}_embedder.linear_{number}",)
            for theirs, ours in _EMBEDDERS.items()
            for number, layer in enumerate(("in", "out"), start=1)
        },
        **_under(f"double_blocks.{BLOCK}", _DOUBLE_BLOCK, _DOUBLE),
        **_under(f"single_blocks.{BLOCK}", _SINGLE_BLOCK, _SINGLE),
        "final_layer.linear": ("proj_out",),
        "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    },
    swapped=frozenset({"final_layer.adaLN_modulation.1"}),
    parameters={"scale": "weight"},
    aliases=_under(
        f"double_blocks.{BLOCK}",
        _DOUBLE_BLOCK,
        {
            "qkv_lora1": _QUERY_KEY_VALUE,
            "qkv_lora2": _ADDED,
            "proj_lora1": ("attn.to_out.0",),
            "proj_lora2": ("attn.to_add_out",),
        },
    )
    | _under(f"single_blocks.{BLOCK}", _SINGLE_BLOCK, {"qkv": _QUERY_KEY_VALUE}),
)
"""FLUX.1, of Black Forest Labs; the aliases are XLabs'."""

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

PIXART = Naming(
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
        **_under(f"blocks.{BLOCK}", _DOUBLE_BLOCK, _PIXART_BLOCK),
        "final_layer.linear": ("proj_out",),
    },
    tensors={
        f"blocks.{BLOCK}.scale_shift_table": f"{_DOUBLE_BLOCK}.scale_shift_table",
        "final_layer.scale_shift_table": "scale_shift_table",
    },
    unused=frozenset({"pos_embed", "y_embedder.y_embedding"}),
)
"""PixArt-α and -Σ."""

LAYOUTS = (FLUX, PIXART)
