"""What people call a layer: `up.1.attn.1`, and of a UNet `OUT04` as block-weight tools write it.

Names are made of the paths of diffusers' modules:

- `down_blocks.1.attentions.0.…` is `down.1.attn.0`, `mid_block.attentions.0.…` is `mid.attn.0`, and
  `up_blocks.2.attentions.1.…` is `up.2.attn.1`; where such a transformer has several blocks, the
  number of the block follows: `up.0.attn.1.3`.
- `transformer_blocks.7.attn` is `block.7`, `single_transformer_blocks.7.attn` is `single.7`.
- anything else is called by its path.

Layers that would have one name have the last part of their path behind it; those of another tower
than the first layer's have the tower before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from attn.schema.layout import Layer

_NUMBER = r"(\d{1,6})(?!\d)"
"""Of a block: paths come from files of others, and Python makes no number of 4,301 digits."""
UNET = re.compile(
    rf"(down|up)_blocks\.{_NUMBER}\.(attentions|resnets|downsamplers|upsamplers)\.{_NUMBER}"
)
LDM = re.compile(rf"(input|output)_blocks\.{_NUMBER}")
MIDDLE = re.compile(rf"mid_block\.(attentions|resnets)\.{_NUMBER}")
INNER = re.compile(r"\.transformer_blocks\.(\d{1,6})(?:\.|$)")
STACKED = re.compile(r"(?:^|\.)(single_)?(?:transformer_blocks|blocks|layers)\.(\d{1,6})(?:\.|$)")
SHORT = {"attentions": "attn", "resnets": "resnet"} | dict.fromkeys(
    ("downsamplers", "upsamplers"), "sample"
)
PER_LEVEL = 2
"""Transformers of a level on the way down of the UNets that have kohya's names; up, one more."""


def name_layers(layers: Iterable[Layer]) -> dict[int, str]:
    """Return what each layer is called, by its index; no two have one name."""
    listed = list(layers)
    names = {layer.index: short_name(layer.path) for layer in listed}
    for rename in (_with_block, _with_end, _with_path):
        counts = Counter((layer.tower, names[layer.index]) for layer in listed)
        names |= {
            layer.index: rename(layer, names[layer.index])
            for layer in listed
            if counts[layer.tower, names[layer.index]] > 1
        }
    others = [layer for layer in listed if layer.tower != listed[0].tower]
    return names | {layer.index: f"{layer.tower}.{names[layer.index]}" for layer in others}


def short_name(path: str) -> str:
    """Return the short name of a module's path, which several modules may share."""
    if match := UNET.search(path):
        return f"{match[1]}.{match[2]}.{SHORT[match[3]]}.{match[4]}"
    if match := MIDDLE.search(path):
        return f"mid.{SHORT[match[1]]}.{match[2]}"
    if match := STACKED.search(path):
        return f"{'single' if match[1] else 'block'}.{match[2]}"
    return path


def kohya_name(path: str) -> str:
    """Return `IN04`, `MID` or `OUT05`, as block-weight tools call a UNet's block; else nothing.

    Blocks are counted as in the original code of SD 1.5 and SDXL, whose levels have two
    transformers on the way down and three on the way up.
    """
    if match := LDM.match(path):
        return f"{'IN' if match[1] == 'input' else 'OUT'}{int(match[2]):02}"
    if MIDDLE.search(path) or path.startswith("middle_block"):
        return "MID"
    match = UNET.search(path)
    if match is None:
        return ""
    level, kind, number = int(match[2]), match[3], int(match[4])
    if match[1] == "down":
        at = PER_LEVEL if kind == "downsamplers" else number
        return f"IN{1 + (PER_LEVEL + 1) * level + at:02}"
    at = PER_LEVEL if kind == "upsamplers" else number
    return f"OUT{(PER_LEVEL + 1) * level + at:02}"


def _with_block(layer: Layer, name: str) -> str:
    inner = INNER.search(layer.path)
    is_unet = name.startswith(("down.", "up.", "mid."))
    return f"{name}.{inner[1]}" if inner and is_unet else name


def _with_path(layer: Layer, name: str) -> str:
    return layer.path


def _with_end(layer: Layer, name: str) -> str:
    return f"{name}.{layer.path.rpartition('.')[2]}"
