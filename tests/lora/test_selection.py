"""A LoRA restricted to modules by their names, in whatever layout either has them."""

import pytest

from attn.errors import ModelError
from attn.lora.names import DENOISER
from attn.lora.selection import block_name, selected

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
        "it changes up.1, up.10, mid.attn, down.1, te1.layers, te2.layers"
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
