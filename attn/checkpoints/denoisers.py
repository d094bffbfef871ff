"""Recognise denoisers, the networks that decide what a model is: UNets and SD3's transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from attn.checkpoints.inventory import (
    GATE,
    PREFIXES,
    WRAPPERS,
    Checkpoint,
    Tensors,
    beside,
    count,
    size,
)
from attn.checkpoints.other_models import UNUSED


class _Sizes(NamedTuple):
    """What tells one SD3 transformer from another.

    Attributes:
        depth: number of blocks.
        width: channels of a token.
        positions: length of its table of positions.
        duals: blocks with a second attention.
        is_normed: whether queries and keys are normed.
    """

    depth: int
    width: int
    positions: int
    duals: int
    is_normed: bool


_MMDITS = {
    _Sizes(38, 2432, 192**2, 0, True): ("sd35-large", "Stable Diffusion 3.5 Large"),
    _Sizes(24, 1536, 384**2, 13, True): ("sd35-medium", "Stable Diffusion 3.5 Medium"),
    _Sizes(24, 1536, 192**2, 0, False): ("sd3-medium", "Stable Diffusion 3 Medium"),
}


def mmdit(tensors: Tensors) -> Checkpoint | None:
    """Recognise a transformer of SD3 or SD3.5."""
    for prefix in PREFIXES:
        if f"{prefix}joint_blocks.0.x_block.attn.qkv.weight" in tensors:
            return _sai(tensors, prefix)
    if {"transformer_blocks.0.attn.add_q_proj.weight", "pos_embed.pos_embed"} <= tensors.keys():
        return _diffusers_mmdit(tensors)
    return None


def _sai(tensors: Tensors, prefix: str) -> Checkpoint:
    attention = f"{prefix}joint_blocks.0.x_block.attn."
    sizes = _Sizes(
        depth=count(tensors, ".x_block.attn.qkv.weight"),
        width=size(tensors, f"{prefix}x_embedder.proj.weight", 0),
        positions=size(tensors, f"{prefix}pos_embed", 1),
        duals=count(tensors, ".x_block.attn2.qkv.weight"),
        is_normed=f"{attention}ln_k.weight" in tensors,
    )
    config, title = _published(sizes)
    checkpoint = Checkpoint("sd35", title, "SAI", {"dit": prefix} | beside(tensors), config)
    if not _has_gates(tensors, prefix):
        return checkpoint
    return replace(checkpoint, family="gated", title=f"a gated DiT: {title} with gates")


def _diffusers_mmdit(tensors: Tensors) -> Checkpoint:
    sizes = _Sizes(
        depth=count(tensors, ".attn.add_q_proj.weight"),
        width=size(tensors, "pos_embed.proj.weight", 0),
        positions=size(tensors, "pos_embed.pos_embed", 1),
        duals=count(tensors, ".attn2.to_q.weight"),
        is_normed="transformer_blocks.0.attn.norm_k.weight" in tensors,
    )
    config, title = _published(sizes)
    return Checkpoint("sd35", title, "diffusers", {"dit": ""}, config)


def _published(sizes: _Sizes) -> tuple[str | None, str]:
    """Return (configuration, title) for the sizes of an SD3 transformer."""
    other = f"a model like Stable Diffusion 3.5, of {sizes.depth} blocks and width {sizes.width}"
    return _MMDITS.get(sizes, (None, other))


def _has_gates(tensors: Tensors, prefix: str) -> bool:
    """Whether any block has gates, in a projection of their own or in rows of `qkv`."""
    prefixed = [name for name in tensors if name.startswith(f"{prefix}joint_blocks.")]
    joined = (name for name in prefixed if name.endswith(".qkv.weight"))
    return any(name.endswith(f".{GATE}.weight") for name in prefixed) or any(
        size(tensors, name, 0) > 3 * size(tensors, name, 1) for name in joined
    )


class _Features(NamedTuple):
    """What tells one UNet from another.

    Attributes:
        channels: of its input; more than the 4 of noise where it sees a picture too.
        width: channels of its first level.
        text: width of the text states.
        has_sizes: whether it reads the picture's size beside the time, as SDXL does.
        is_linear: whether its attention blocks are entered by linear layers, as in SD2 and SDXL.
        tensors: how many it has.
    """

    channels: int
    width: int
    text: int
    has_sizes: bool
    is_linear: bool
    tensors: int


_UNETS = {
    _Features(4, 320, 768, False, False, 686): "sd15",
    _Features(9, 320, 768, False, False, 686): "sd15-inpainting",
    _Features(4, 320, 1024, False, True, 686): "sd2",
    _Features(4, 320, 2048, True, True, 1680): "sdxl",
    _Features(9, 320, 2048, True, True, 1680): "sdxl-inpainting",
    _Features(4, 384, 1280, True, True, 1220): "sdxl-refiner",
}
_TITLES = {
    "sd15": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "the refiner of Stable Diffusion XL",
}
_NOISE_CHANNELS, _INPAINTING_CHANNELS = 4, 9
_OTHER_INPUTS = {5: "depth maps", 7: "enlarging", 8: "instructions"}
_SD2_TEXT = 1024
_REFINER = (384, 1280)  # width and text
_REFINER_TEXT = "conditioner.embedders.0.model.positional_embedding"


def unet(tensors: Tensors) -> Checkpoint | None:
    """Recognise a UNet of Stable Diffusion, and its relatives that are refused."""
    for prefix in PREFIXES:
        if {f"{prefix}input_blocks.0.0.weight", f"{prefix}out.2.weight"} <= tensors.keys():
            names = "input_blocks.0.0.weight", "label_emb.0.0.weight"
            parts = {"unet": prefix} | beside(tensors)
            features = _features(tensors, prefix, *names)
            family = "sdxl-refiner" if _REFINER_TEXT in tensors else _family(features)
            return _variant(features, family, "LDM", parts)
    if {"conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"} <= tensors.keys():
        names = "conv_in.weight", "add_embedding.linear_1.weight"
        features = _features(tensors, "", *names)
        return _variant(features, _family(features), "diffusers", {"unet": ""})
    return None


def _features(tensors: Tensors, prefix: str, entry: str, sizes: str) -> _Features:
    """Read what tells UNets apart; `entry` and `sizes` are names of its first layers."""
    prefixed = [name for name in tensors if name.startswith(prefix)]
    if not prefix:
        prefixed = [
            name for name in prefixed if not name.startswith(WRAPPERS) and not UNUSED.match(name)
        ]
    key = next((name for name in prefixed if name.endswith(".attn2.to_k.weight")), "")
    entrance = next((name for name in prefixed if name.endswith(".proj_in.weight")), "")
    return _Features(
        channels=size(tensors, prefix + entry, 1),
        width=size(tensors, prefix + entry, 0),
        text=size(tensors, key, 1),
        has_sizes=prefix + sizes in tensors,
        is_linear=size(tensors, entrance, 1) > 0 and size(tensors, entrance, 2) == 0,
        tensors=len(prefixed),
    )


def _family(features: _Features) -> str:
    if (features.width, features.text) == _REFINER:
        return "sdxl-refiner"
    if features.has_sizes:
        return "sdxl"
    return "sd2" if features.text == _SD2_TEXT or features.is_linear else "sd15"


def _variant(features: _Features, family: str, layout: str, parts: dict[str, str]) -> Checkpoint:
    config, title = _UNETS.get(features), _TITLES[family]
    config = config if config and config.startswith(family) else None
    checkpoint = Checkpoint(family, title, layout, parts, config)
    if features.channels == _INPAINTING_CHANNELS:
        title = f"{title} for inpainting"
    elif features.channels != _NOISE_CHANNELS:
        kind = _OTHER_INPUTS.get(features.channels, f"{features.channels} input channels")
        advice = "its UNet takes more than noise; give a model that draws from text alone"
        return replace(checkpoint, family=None, title=f"{title} for {kind}", advice=advice)
    if config is None:
        title = f"a model like {title}, of {features.tensors} tensors and width {features.width}"
    return replace(checkpoint, title=title)
