"""Blocks of a LoRA that are turned off one by one, and lists of weights as other tools read them.

A list has one weight for each block of a UNet, in the order of the network, after one for the text
encoders (`BASE`):

- LoRA Block Weight for A1111's web UI counts all blocks that a kind of LoRA can have: 12 of SDXL
  and 17 of SD 1.5 where only transformers are changed, 20 and 26 with convolutions.
- The block-weight nodes of ComfyUI's Inspire Pack give weights out to the blocks that the file has,
  one after the other, and want at least twelve; what is left over is not read.

Both keep presets as lines `NAME:WEIGHT,WEIGHT,…`.

Source: the tables of 12, 17, 20 and 26 weights in the README of
hako-mikan/sd-webui-lora-block-weight; `validate` and `load_lbw` of inspire/lora_block_weight.py in
ltdrdata/ComfyUI-Inspire-Pack, and its issues 15 and 191. Of a line both take what is behind the
first colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attn.checkpoints.families import families
from attn.lora.file import LoraFile
from attn.lora.selection import block_names
from attn.schema import kohya_name

BASE, MIDDLE, ENCODERS = "BASE", "MID", "te"
"""The text encoders and the middle block in these lists; the pattern of all text encoders."""
FEWEST = 12
"""Weights that ComfyUI's nodes want at least."""
LEVELS_OF_SD = 4
"""Of each side of SD 1.5's UNet, with three blocks each; that of SDXL has three levels."""

Blocks = Mapping[str, tuple[str, ...]]
"""Names of blocks as patterns of modules, by what a block-weight list calls them together."""
Weights = Mapping[str, float]
"""Weight of each of these."""


def _order(inputs: Sequence[int], outputs: Sequence[int]) -> tuple[str, ...]:
    ins, outs = [f"IN{at:02}" for at in inputs], [f"OUT{at:02}" for at in outputs]
    return (BASE, *ins, MIDDLE, *outs)


_OF_SDXL = (_order((4, 5, 7, 8), range(6)), _order(range(9), range(9)))
_OF_SD = (_order((1, 2, 4, 5, 7, 8), range(3, 12)), _order(range(12), range(12)))


def sweep_blocks(lora: LoraFile) -> Blocks:
    """Return the blocks that a LoRA changes, in order; all text encoders are one.

    What lies in one block of a block-weight list is taken together, such as a transformer and the
    ResNet before it. A block that no such list has is called by its own name.
    """
    blocks: dict[str, tuple[str, ...]] = {}
    for name in block_names(lora):
        slot = slot_of(name)
        if slot == BASE:
            blocks[BASE] = (ENCODERS,)
        else:
            blocks[slot or name] = (*blocks.get(slot or name, ()), name)
    return blocks


def slot_of(name: str) -> str:
    """Return what a block-weight list calls a block; empty if it is in no such list.

    Args:
        name: as `attn.lora.selection.block_name` has it, such as `up.2.attn.1` or `te1.layers.3`.
    """
    if re.match(rf"{ENCODERS}\d*(?:\.|\Z)", name):
        return BASE
    return kohya_name(_path(name))


def a1111_weights(blocks: Blocks, weights: Weights, rest: float, backend: str) -> str | None:
    """Return weights as LoRA Block Weight reads them; None if its lists have not all blocks.

    Args:
        blocks: of the LoRA.
        weights: of its blocks.
        rest: weight of blocks that it does not change.
        backend: of the model; lists of SDXL and SD 1.5 differ.
    """
    family = families().get(backend)
    lists = _OF_SD if family and family.levels == LEVELS_OF_SD else (*_OF_SDXL, *_OF_SD)
    order = next((order for order in lists if set(blocks) <= set(order)), None)
    return None if order is None else _spell([weights.get(slot, rest) for slot in order])


def comfyui_weights(blocks: Blocks, weights: Weights, rest: float) -> str | None:
    """Return weights as ComfyUI's Inspire Pack reads them; None if that cannot tell blocks apart.

    Two neighbours of one number, as `IN01` before the middle block's second part, share a weight
    there.

    Args:
        blocks: of the LoRA.
        weights: of its blocks.
        rest: weight of text encoders that it does not change, and of what nothing is read from.
    """
    numbered = [
        (number, weights[slot])
        for slot, names in blocks.items()
        if slot != BASE
        for number in _numbers(slot, names)
    ]
    if any(slot != BASE and not _numbers(slot, names) for slot, names in blocks.items()):
        return None
    told = [weights.get(BASE, rest)]
    before: tuple[int, float] | None = None
    for number, weight in numbered:
        if before is None or number != before[0]:
            told.append(weight)
        elif weight != before[1]:
            return None
        before = number, weight
    return _spell(told + [rest] * (FEWEST - len(told)))


def _numbers(slot: str, names: Sequence[str]) -> list[int]:
    """Return the numbers that LDM's blocks of a slot have in their section."""
    if slot != MIDDLE:
        match = re.fullmatch(r"(?:IN|OUT)(\d{1,6})", slot)
        return [int(match[1])] if match else []
    parts = {"resnet.0": 0, "attn.0": 1, "resnet.1": 2}
    return sorted(parts.get(name.removeprefix("mid."), 1) for name in names)


def _path(name: str) -> str:
    """Return the path in diffusers of a block's name."""
    full = re.sub(r"\A(up|down)\.", r"\1_blocks.", name)
    full = re.sub(r"\Amid(?=\.|\Z)", "mid_block", full)
    return re.sub(r"\.attn\b", ".attentions", re.sub(r"\.resnet\b", ".resnets", full))


def _spell(weights: Sequence[float]) -> str:
    return ",".join(f"{weight:g}" for weight in weights)
