"""The chart of a LoRA: true heights, the network's order, texts that stay apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from attn import lora
from attn.viz.compare.lora_norms import COLOURS, draw
from tests.helpers.models.lora_files import KOHYA, normal, oft, pair, write

JOINT = "lora_unet_joint_blocks_{}_x_block_{}"
CLIP = "lora_te{}_text_model_encoder_layers_{}_{}"
LONG = "lora_unet_down_blocks_{}_{}_{}_conv"

NETWORKS = {
    "one block": [KOHYA.format(1, "to_q")],
    "a text encoder": [CLIP.format(1, layer, "mlp_fc1") for layer in range(12)],
    "three text encoders": [
        *(JOINT.format(block, end) for block in range(38) for end in ("attn_qkv", "mlp_fc1")),
        *(CLIP.format(tower, layer, "mlp_fc1") for tower in (1, 2) for layer in range(32)),
        *(f"lora_te3_encoder_block_{layer}_layer_0_SelfAttention_q" for layer in range(24)),
    ],
    "long names": [
        LONG.format(level, part, layer)
        for level in range(4)
        for part in ("resnets", "attentions", "downsamplers")
        for layer in range(3)
    ],
    "very many blocks": [JOINT.format(block, "attn_qkv") for block in range(120)],
    "a large step": [JOINT.format(block, "attn_qkv") for block in (0, 999)],
}


@pytest.fixture
def read(tmp_path):
    """Read a LoRA with these modules, all of one size."""

    def made(stems, model=None, name="a.safetensors"):
        rng = np.random.default_rng(59)
        tensors = {}
        for stem in stems:
            tensors |= pair(rng).named(stem)
        return lora.read(write(tmp_path / name, tensors), model)

    return made


def shown(figure):
    """Return the texts of a figure that are drawn."""
    FigureCanvasAgg(figure).draw()
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_are_apart(name, read):
    """In networks of every size all texts are on the page and none covers another."""
    figure = draw(read(NETWORKS[name])).figure
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown(figure)]
    for item, box in boxes:
        assert box.x0 >= 0, item
        assert box.y0 >= 0, item
        assert box.x1 <= figure.bbox.x1, item
        assert box.y1 <= figure.bbox.y1, item
    for (item, box), (other, another) in combinations(boxes, 2):
        assert not box.overlaps(another), (item, other)


def bars(axes):
    """Return the bars of a panel by their place: (height, colour) from below."""
    result = {}
    for patch in axes.patches:
        middle = round(patch.get_x() + patch.get_width() / 2)
        result.setdefault(middle, []).append((patch.get_height(), patch.get_facecolor()))
    return [result[index] for index in sorted(result)]


def test_heights(read):
    """A bar is as high as its block's norm, and its parts share it as their squares."""
    names = [JOINT.format(block, end) for block in (0, 1) for end in ("attn_qkv", "mlp_fc1")]
    file = read(names)
    (panel,) = draw(file).figure.axes
    for bar, block in zip(bars(panel), lora.blocks(file), strict=True):
        heights = [height for height, _ in bar]
        assert sum(heights) == pytest.approx(block.norm)
        squares = {module.target: module.norm**2 for module in block.modules}
        attention, rest = squares["joint_attention"], squares["feed_forward"]
        assert heights[0] / heights[1] == pytest.approx(attention / rest)


def test_panels(read):
    """The denoiser is above, the text encoders are below on a scale of their own."""
    stems = [KOHYA.format(1, "to_q"), CLIP.format(1, 0, "mlp_fc1"), CLIP.format(2, 0, "mlp_fc1")]
    above, left, right = draw(read(stems)).figure.axes
    assert "denoiser" in {text.get_text() for text in above.texts}
    assert "text encoder 2" in {text.get_text() for text in right.texts}
    assert above.get_position().y0 > left.get_position().y1
    assert left.get_ylim() == right.get_ylim()


def test_relative_to_a_model(read, tmp_path):
    """With a base model there is a second panel, whose bars are ‖ΔW‖ / ‖W‖."""
    (tmp_path / "m" / "unet").mkdir(parents=True)
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    weight = normal(np.random.default_rng(61), 13, 11)
    write(tmp_path / "m" / "unet" / "model.safetensors", {path: weight})
    file = read([KOHYA.format(1, "to_q")], tmp_path / "m")
    _, below = draw(file).figure.axes
    expected = file.modules[0].norm / np.linalg.norm(weight)
    assert [height for ((height, _),) in bars(below)] == pytest.approx([expected])


def test_nothing_known(tmp_path):
    """Without a single norm there is no chart."""
    rng = np.random.default_rng(67)
    tensors = oft(rng).named(KOHYA.format(1, "to_q"))
    assert draw(lora.read(write(tmp_path / "a.safetensors", tensors))) is None


def test_zeros(tmp_path):
    """An untrained LoRA has a chart without bars, not a division by zero."""
    sample = pair(np.random.default_rng(71))
    tensors = sample.named(KOHYA.format(1, "to_q"))
    tensors[f"{KOHYA.format(1, 'to_q')}.lora_up.weight"][:] = 0
    assert draw(lora.read(write(tmp_path / "a.safetensors", tensors))).path == "norms.png"


def test_a_long_file_name(read):
    """A file name wider than the page is cut."""
    figure = draw(read(NETWORKS["one block"], name="a" * 200 + ".safetensors")).figure
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in shown(figure))


def test_every_purpose_has_a_colour():
    """No target is without a colour, and no two have the same."""
    from attn.lora.blocks import TARGETS

    assert set(COLOURS) == set(TARGETS)
    assert len(set(COLOURS.values())) == len(TARGETS)
