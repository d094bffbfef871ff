"""Blocks of a LoRA that are swept, and the lists of block weights that other tools read."""

import numpy as np
import pytest

from attn import lora
from attn.lora.block_weights import a1111_weights, comfyui_weights, slot_of, sweep_blocks
from tests.helpers.models.lora_files import pair, write

SDXL = ("IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{at:02}" for at in range(6)))
SD15 = ("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID",
        *(f"OUT{at:02}" for at in range(3, 12)))  # fmt: skip


def blocks(slots):
    """Return blocks of attention in these places."""
    return {slot: ("mid.attn.0",) if slot == "MID" else (slot,) for slot in slots}


@pytest.mark.parametrize(
    ("slots", "backend", "count"),
    [
        (SDXL, "sdxl", 12),
        (SD15, "sd15", 17),
        (("IN04", "OUT05"), "sd15", 17),
        (("IN04", "OUT05"), "sdxl", 12),
        (("IN00", *SDXL, "OUT08"), "sdxl", 20),
        (("IN00", *SD15), "sd15", 26),
    ],
)
def test_a1111(slots, backend, count):
    """The shortest list that has all blocks is taken, with the text encoders first."""
    selected = blocks(slots)
    told = a1111_weights(selected, {"OUT05": 0.5}, 0.0, backend).split(",")
    assert len(told) == count
    outputs = 12 if backend == "sd15" else 9 if count == 20 else 6
    assert told.index("0.5") == count - outputs + 5
    ones = a1111_weights(selected, {}, 1.0, backend)
    assert ones == ",".join("1" * count)


def test_a1111_has_no_such_block():
    """A list that has no place for a block is not written."""
    assert a1111_weights({"block.3": ("block.3",)}, {"block.3": 1.0}, 0.0, "sd35") is None
    assert comfyui_weights({"block.3": ("block.3",)}, {"block.3": 1.0}, 0.0) is None


def test_comfyui():
    """Weights are given out to the blocks that are there, in order, and filled up to twelve."""
    selected = {"IN04": ("down.1.attn.0",), "MID": ("mid.resnet.0", "mid.attn.0"), "OUT03": ("up",)}
    weights = {"IN04": 0.25, "MID": 1.0, "OUT03": 0.0}
    assert comfyui_weights(selected, weights, 0.0) == "0,0.25,1,1,0,0,0,0,0,0,0,0"
    every = blocks(SDXL)
    assert comfyui_weights(every, dict.fromkeys(every, 1.0), 1.0) == ",".join("1" * 12)


def test_comfyui_cannot_tell_neighbours_apart():
    """Two neighbours of one number share a weight, so that two different ones are not written."""
    selected = {"IN01": ("down.0.attn.0",), "MID": ("mid.attn.0",)}
    assert comfyui_weights(selected, {"IN01": 1.0, "MID": 1.0}, 0.0).startswith("0,1,0")
    assert comfyui_weights(selected, {"IN01": 1.0, "MID": 0.0}, 0.0) is None


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("up.2.attn.1", "OUT07"), ("down.1.resnet.0", "IN04"), ("down.0.downsamplers.0", "IN03"),
        ("mid.attn.0", "MID"), ("te1.layers.3", "BASE"), ("te", "BASE"), ("block.4", ""),
    ],
)  # fmt: skip
def test_slots(name, slot):
    """Blocks have the names of A1111's lists."""
    assert slot_of(name) == slot


def test_sweep(tmp_path):
    """What lies in one place of a list is one block, and so are all text encoders."""
    rng = np.random.default_rng(3)
    stems = ("lora_te1_text_model_encoder_layers_3_mlp_fc1", "lora_te2_text_model_encoder_layers_0"
             "_mlp_fc1", "lora_unet_input_blocks_4_0_in_layers_2", "lora_unet_input_blocks_4_1_"
             "proj_in", "lora_unet_input_blocks_3_0_op")  # fmt: skip
    tensors = {}
    for stem in stems:
        tensors |= pair(rng).named(stem)
    swept = sweep_blocks(lora.read(write(tmp_path / "a.safetensors", tensors)))
    assert swept["BASE"] == ("te",)
    assert set(swept["IN04"]) == {"down.1.resnet.0", "down.1.attn.0"}
