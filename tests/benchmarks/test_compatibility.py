"""The page of architectures says what happens."""

import diffusers
import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks import compatibility
from benchmarks.compatibility import (
    DIFFUSERS,
    PAGE,
    TRANSFORMERS,
    kernels_called,
    try_diffusers,
    try_transformers,
)
from benchmarks.networks.diffusers_models import build, noise

LISTED = PAGE.read_text(encoding="utf-8").splitlines()
SAMPLE = [
    ("decoder", "llama"),
    ("decoder", "mamba"),
    ("encoder", "bert"),
    ("encoder-decoder", "bart"),
    ("vision", "vit"),
    ("vision", "swin"),
]
KINDS = [
    "SD3Transformer2DModel",  # joint, and two kinds of attention in a block
    "PixArtTransformer2DModel",  # across to the text
    "WanTransformer3DModel",  # two kernels in a layer
    "ConsisIDTransformer3DModel",  # a softmax in the open
    "HunyuanDiT2DModel",  # torch's own attention
]


@pytest.mark.parametrize(("group", "kind"), SAMPLE)
def test_transformers(group, kind):
    """An architecture of transformers is captured, or refused, as the page says."""
    assert str(try_transformers(group, kind)) in LISTED


@pytest.mark.parametrize("name", KINDS)
def test_diffusers(name):
    """A transformer of diffusers is captured as the page says."""
    assert str(try_diffusers(name)) in LISTED


@pytest.mark.parametrize("name", ["native", "_native_math", "flex", "flash", "_native_npu"])
def test_attention_backends(name):
    """An attention backend of diffusers is seen exactly, or refused by its name."""
    assert compatibility.try_backend(name) in LISTED


def test_models_are_the_same_in_every_run():
    """No weight is what the memory happened to hold, as some classes leave theirs."""
    name = "NucleusMoEImageTransformer2DModel"
    first, second = (build(getattr(diffusers, name), DIFFUSERS[name])[0] for _ in range(2))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in pairs)


def test_reference_hears_every_kernel():
    """The reference is the float64 softmax of a fused call, a plain one, and torch's own module."""
    query, key = noise(2, 3, 5, 7), noise(2, 3, 11, 7)
    module = torch.nn.MultiheadAttention(6, 3, batch_first=True).eval()
    with torch.no_grad(), kernels_called() as matrices:
        functional.scaled_dot_product_attention(query, key, key)
        torch.softmax(query @ key.mT / 7**0.5, -1)
        module(noise(2, 5, 6), noise(2, 11, 6), noise(2, 11, 6), need_weights=False)
    logits = np.einsum("rhqc,rhkc->rhqk", query.double().numpy(), key.double().numpy())
    weights = np.exp(logits / 7**0.5)
    np.testing.assert_allclose(matrices[0], weights / weights.sum(-1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(matrices[1], matrices[0], rtol=1e-5)
    assert matrices[2].shape == (2, 3, 5, 11)


def test_page_says_what_was_not_tried():
    """Every transformer of diffusers is tried."""
    names = compatibility.all_diffusers()
    said = f"Of the {len(names)} transformers of diffusers, {len(names)} were tried."
    assert said in LISTED


def test_page_lists_all():
    """Every architecture that is tried has a row."""
    tried = [kind for kinds in TRANSFORMERS.values() for kind in kinds] + list(DIFFUSERS)
    tried += compatibility.backend_names()
    assert [line.split("`")[1] for line in LISTED if line.startswith("| ") and "`" in line] == tried


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)
def test_page_is_made_anew():
    """The whole page is what the installed libraries give."""
    assert compatibility.page(compatibility.all_rows()).splitlines() == LISTED
