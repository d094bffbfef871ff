"""What people call layers."""

import pytest

from attn.schema import Layer, kohya_name, name_layers, short_name

ENDLESS = "9" * 4301
"""A number that Python makes none of, as a file of somebody else may have it."""


def layers(*paths, tower="denoiser"):
    """Return layers of these paths."""
    return [Layer(7 + 2 * at, tower, path, "cross", 2, (), ()) for at, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("path", "short", "kohya"),
    [
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn2", "down.0.attn.0", "IN01"),
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn2", "down.1.attn.0", "IN04"),
        ("down_blocks.2.attentions.1.transformer_blocks.9.attn2", "down.2.attn.1", "IN08"),
        ("down_blocks.1.resnets.1.conv1", "down.1.resnet.1", "IN05"),
        ("down_blocks.1.downsamplers.0.conv", "down.1.sample.0", "IN06"),
        ("mid_block.attentions.0.transformer_blocks.0.attn2", "mid.attn.0", "MID"),
        ("up_blocks.1.attentions.2.transformer_blocks.0.attn2", "up.1.attn.2", "OUT05"),
        ("up_blocks.3.attentions.1.transformer_blocks.0.attn2", "up.3.attn.1", "OUT10"),
        ("up_blocks.0.upsamplers.0.conv", "up.0.sample.0", "OUT02"),
        ("input_blocks.4.1", "input_blocks.4.1", "IN04"),
        ("middle_block.1", "middle_block.1", "MID"),
        ("transformer_blocks.17.attn", "block.17", ""),
        ("single_transformer_blocks.3.attn", "single.3", ""),
        ("model.transformer.blocks.31", "block.31", ""),
        ("something.else", "something.else", ""),
        (f"input_blocks.{ENDLESS}", f"input_blocks.{ENDLESS}", ""),
        (f"up_blocks.{ENDLESS}.resnets.0", f"up_blocks.{ENDLESS}.resnets.0", ""),
    ],
)
def test_names_of_a_path(path, short, kohya):
    """Paths of diffusers are called as people write them, and by kohya's blocks in UNets."""
    assert (short_name(path), kohya_name(path)) == (short, kohya)


def test_layers_of_one_place():
    """Blocks of one transformer, and both attentions of a block, are told apart."""
    start = "up_blocks.0.attentions.1.transformer_blocks"
    listed = layers(f"{start}.0.attn2", f"{start}.1.attn1", f"{start}.1.attn2", "blocks.3.attn")
    assert list(name_layers(listed).values()) == [
        "up.0.attn.1.0",
        "up.0.attn.1.1.attn1",
        "up.0.attn.1.1.attn2",
        "block.3",
    ]


def test_other_towers():
    """Layers of another network than the first have its name before theirs; paths are the last."""
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    listed = [*layers(path), Layer(8, "controlnet", path, "cross", 2, (), ())]
    assert name_layers(listed) == {7: "down.0.attn.0", 8: "controlnet.down.0.attn.0"}
    assert list(name_layers(layers("a.b", "a.b")).values()) == ["a.b", "a.b"]
