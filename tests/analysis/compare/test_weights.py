"""A LoRA's change of weights against the change of attention."""

from dataclasses import replace

import numpy as np
import pytest

from attn import lora
from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.compare.weights import against_weights
from attn.errors import AnalysisError
from tests.helpers.models.lora_files import pair, write
from tests.helpers.toy_traces import JOINT, make_trace, manifest, tensors


@pytest.fixture(scope="module")
def pairs():
    """Return three pairs of traces of the layers blocks.1.attn2 and blocks.3.attn2."""
    about = manifest(samples=1)
    return [
        compare_pair(
            make_trace(about, tensors(about, seed)),
            make_trace(about, tensors(about, 50 + seed)),
            PairOptions(),
            {},
        )
        for seed in range(3)
    ]


def save(path, *stems):
    """Write a LoRA of some modules; return it and the norms of its changes."""
    rng = np.random.default_rng(0)
    samples = {stem: pair(rng) for stem in stems}
    tensors_ = {
        key: value for stem, sample in samples.items() for key, value in sample.named(stem).items()
    }
    norms = [np.linalg.norm(sample.change) for sample in samples.values()]
    return lora.read(write(path, tensors_)), norms


def test_join(pairs, tmp_path):
    """Modules inside a layer's path are joined to it, however the file spells paths."""
    stems = ("lora_unet_blocks_3_attn2_to_q", "lora_unet_blocks_3_attn2_to_k", "lora_unet_conv_in")
    file, norms = save(tmp_path / "a.safetensors", *stems)
    result = against_weights(file, pairs)
    columns = result.table
    assert columns["layer"].tolist() == [1, 3]
    assert columns["path"].tolist() == ["blocks.1.attn2", "blocks.3.attn2"]
    assert columns["modules"].tolist() == [0, 2]
    assert columns["norm"].tolist() == pytest.approx([0, np.hypot(*norms[:2])])
    assert result.unmatched == ("lora_unet_conv_in",)


def test_change(pairs, tmp_path):
    """The change of a layer is the mean over words of the size of their changes."""
    file, _ = save(tmp_path / "a.safetensors", "lora_unet_blocks_1_attn2_to_q")
    result = against_weights(file, pairs).table["change"]
    words = [index for index, term in enumerate(pairs[0].terms) if term.kind == "word"]
    changes = np.mean(
        [(item.variant.mass - item.base.mass)[0, words, :, 0] for item in pairs], axis=0
    )
    np.testing.assert_allclose(result, np.abs(changes).mean(0))


@pytest.mark.parametrize(
    ("base_path", "told"),
    [
        (None, "or names them in another layout: read it with its base model"),
        ("conv_in", "but convolution: where attention changes, it is because what it reads does"),
    ],
)
def test_no_attention(pairs, tmp_path, base_path, told):
    """A LoRA that touches no attention is refused, with what that says of any change."""
    file, _ = save(tmp_path / "a.safetensors", "lora_unet_conv_in")
    modules = tuple(
        replace(module, base_path=base_path, target="convolution") for module in file.modules
    )
    with pytest.raises(AnalysisError) as caught:
        against_weights(replace(file, modules=modules), pairs)
    start = f"{file.path} changes none of the compared layers (blocks.1.attn2, …)"
    assert str(caught.value) == f"{start}, {told}"


def test_other_layers(tmp_path):
    """Without common layers there is nothing to hold weights against."""
    file, _ = save(tmp_path / "a.safetensors", "lora_unet_blocks_1_attn2_to_q")
    about = manifest(samples=1), manifest(JOINT, samples=1)
    base, variant = (make_trace(item) for item in about)
    with pytest.raises(AnalysisError, match="the traces have different ones"):
        against_weights(file, [compare_pair(base, variant, PairOptions(), {})])
