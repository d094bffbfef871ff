"""A LoRA restricted to modules by their names, in whatever layout either has them."""

import numpy as np
import pytest

from attn import lora
from attn.demo.shipped import lora_file
from attn.errors import ModelError
from attn.lora.names import DENOISER
from attn.lora.selection import block_name, block_names, restricted, selected
from tests.helpers.models.lora_files import pair, write

MODULES = {
    "a": (DENOISER, ("up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",)),
    "b": (DENOISER, ("up_blocks.10.resnets.0.conv1", "output_blocks_30_0_in_layers_2")),
    "c": (DENOISER, ("mid_block.attentions.0.proj_in", "middle_block_1_proj_in")),
    "d": (DENOISER, ("down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",)),
    "e": ("text_encoder", ("text_model.encoder.layers.3.self_attn.q_proj",)),
    "f": ("text_encoder_2", ("encoder.layers.1.mlp.fc1",)),
}
LEFT = {
    "up": "ab",
    "up.1": "a",
    "up_blocks.1": "a",
    "UP.1.attn.0": "a",
    "up.1.attn.0.block.0": "a",
    "up.10.resnet": "b",
    "out30": "b",
    "mid": "c",
    "middle_block": "c",
    "mid.attn": "c",
    "down.1": "d",
    "down_blocks.1.attentions.0": "d",
    "*attn1*": "d",
    "*.attn2.to_k": "a",
    "unet.mid": "c",
    "denoiser": "abcd",
    "te": "ef",
    "text_encoder": "e",
    "te1.layers.3": "e",
    "text_encoder_2": "f",
    "layers": "ef",
    "te,mid": "cef",
    "!te": "abcd",
    "unet,!up": "cd",
    "!up.1,!te2": "bcde",
}


@pytest.mark.parametrize("pattern", LEFT)
def test_what_a_pattern_names(pattern):
    """A name stands for all within it, never for one that only begins alike; `!` takes away."""
    assert selected(pattern.split(","), MODULES, "x") == set(LEFT[pattern])


def test_what_matches_nothing():
    """A pattern without a module is refused with the names nearest to it, and what there is."""
    with pytest.raises(ModelError) as caught:
        selected(["mid", "up.2"], MODULES, "a.safetensors")
    assert str(caught.value) == (
        "a.safetensors: no module of the LoRA matches 'up.2'; near it are up.1, up.10; "
        "it changes up.1, up.10, mid.attn, down.1, te1.layers, te2.layers. "
        "Give one of these, or none for all"
    )
    with pytest.raises(ModelError, match=r"x: mid, !unet leaves no module of the LoRA"):
        selected(["mid", "!unet"], MODULES, "x")


def test_the_names_of_blocks():
    """A module's block has the name that people type, and that chooses it again."""
    names = {key: block_name(value) for key, value in MODULES.items()}
    assert list(names.values()) == [
        *("up.1.attn.0", "up.10.resnet.0", "mid.attn.0", "down.1.attn.0"),
        *("te1.layers.3", "te2.layers.1"),
    ]
    assert all(key in selected([name], MODULES, "x") for key, name in names.items())


def test_the_blocks_of_a_file():
    """They take a file apart: each chooses some of its modules, and together they are all."""
    file = lora.read(lora_file("demo"))
    names = block_names(file)
    assert names == (
        *("down.0.attn.0", "down.1.attn.0", "mid.attn.0", "up.1.attn.0", "up.1.attn.1"),
        *("up.2.attn.0", "up.2.attn.1"),
    )
    parts = [restricted(file, [name]) for name in names]
    assert sum((part.modules for part in parts), ()) == file.modules
    squares = sum(part.norm**2 for part in parts)
    assert squares == pytest.approx(file.norm**2, rel=1e-12)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("input_blocks_4_1_transformer_blocks_0_attn2_to_k", "down.1.attn.0"),
        ("input_blocks_5_0_in_layers_2", "down.1.resnet.1"),
        ("middle_block_1_proj_in", "mid.attn.0"),
        ("output_blocks_5_1_proj_in", "up.1.attn.2"),
        ("joint_blocks_3_x_block_attn_qkv", "block.3"),
    ],
)
def test_the_blocks_of_other_layouts(path, name, tmp_path):
    """LDM's and Stability's names stand for the blocks that published models have there."""
    tensors = pair(np.random.default_rng(3)).named(f"lora_unet_{path}")
    file = lora.read(write(tmp_path / "a.safetensors", tensors))
    assert block_names(file) == (name,)
    assert restricted(file, [name]).modules == file.modules
