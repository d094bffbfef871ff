"""`attn.tap` on models that no backend knows."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import attn
from attn.errors import CaptureError, UsageError

HEADS, DIM, LENGTH, BATCH = 3, 7, 11, 2


class Attention(nn.Module):
    """Self-attention of three heads, as anyone would write it."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(HEADS * DIM, 3 * HEADS * DIM)
        self.seen = []

    def forward(self, x):
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, DIM)).permute(2, 0, 3, 1, 4)
        self.seen.append((query, key))
        out = functional.scaled_dot_product_attention(query, key, value)
        return out.transpose(1, 2).flatten(2)


@pytest.fixture
def model():
    torch.manual_seed(5)
    return nn.Sequential(Attention(), nn.Linear(HEADS * DIM, HEADS * DIM), Attention()).eval()


@pytest.fixture
def x():
    torch.manual_seed(7)
    return torch.randn(BATCH, LENGTH, HEADS * DIM)


def softmax(query, key):
    """The oracle: softmax in float64, (batch, head, query, key)."""
    query, key = query.detach().double().numpy(), key.detach().double().numpy()
    logits = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


@torch.no_grad()
def test_probs_are_exact_and_the_output_is_the_same(model, x):
    """Factors give float64's probabilities to 1e-5, and tapping changes no bit of the output."""
    plain = model(x)
    with attn.tap(model, keep="factors") as tapped:
        assert torch.equal(model(x), plain)
    expected = softmax(*model[2].seen[-1])
    for sample in range(BATCH):
        got = tapped.trace.probs(layer="2", step=0, sample=sample)
        assert np.abs(got - expected[sample]).max() < 1e-5
    assert torch.equal(model(x), plain)


@torch.no_grad()
def test_mass_is_the_mean_over_queries(model, x):
    """The small measures of a tapped model are those of every trace."""
    with attn.tap(model, "0") as tapped:
        model(x)
    mass = tapped.trace.mass(layer=0, block="all.all").squeeze(["step", "branch"])
    assert np.abs(mass - softmax(*model[0].seen[-1]).mean(2)).max() < 1e-5


@torch.no_grad()
def test_every_forward_is_a_step(model, x):
    """Forwards are told apart, also when the numbers differ."""
    with attn.tap(model) as tapped:
        model(x)
        model(2 * x)
    maps = tapped.trace.maps(layer=1, block="all.all")
    assert maps.sizes["step"] == 2
    assert not np.array_equal(maps.isel(step=0), maps.isel(step=1))


@torch.no_grad()
def test_see_is_told_during_the_forward(model, x):
    """A callback gets the path and the kernel's own numbers."""
    told = []
    with attn.tap(model, ["0", "2"], see=lambda path, one: told.append((path, one.shape))):
        model(x)
    shape = (BATCH, HEADS, LENGTH, LENGTH)
    assert told == [("0", shape), ("2", shape)]


@torch.no_grad()
def test_saved_and_opened_again(model, x, tmp_path):
    """A tapped trace saves to disk and reads the same."""
    with attn.tap(model, keep="heads") as tapped:
        model(x)
    tapped.trace.save(tmp_path / "run")
    again = attn.open(tmp_path / "run").headmaps(layer=1, block="all.all")
    assert np.array_equal(again, tapped.trace.headmaps(layer=1, block="all.all"))


@torch.no_grad()
def test_grouped_causal_language_model():
    """A Llama with grouped queries and a causal mask gives float64's probabilities."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        vocab_size=53,
    )
    llama = LlamaModel(config).eval()
    ids = torch.tensor([[3, 5, 7, 11, 13]])
    seen = []
    with attn.tap(
        llama, "layers.*.self_attn", keep="factors", see=lambda *one: seen.append(one)
    ) as tapped:
        llama(ids)
    query, key, _ = seen[0][1].factors()
    logits = query.double() @ key.double().repeat_interleave(6 // key.shape[1], 1).mT / 2
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = logits.masked_fill(hidden, -torch.inf).softmax(-1)[0].numpy()
    assert np.abs(tapped.trace.probs(layer=0, step=0) - expected).max() < 1e-5


@torch.no_grad()
def test_torch_attention_module(x):
    """nn.MultiheadAttention is refused on its fast path, and exact once that is off."""
    module = nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True).eval()
    with pytest.raises(CaptureError, match="set_fastpath_enabled"), attn.tap(module):
        module(x, x, x)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        plain = module(x, x, x)[0]
        with attn.tap(nn.Sequential(module), "0", keep="heads") as tapped:
            out = module(x, x, x)[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert torch.equal(out, plain)
    rows = tapped.trace.headmaps(layer=0, block="all.all").sum("key")
    assert np.abs(rows - 1).max() < 1e-3


@torch.no_grad()
def test_active_lora(opened):
    """With a LoRA active in the UNet, capture sees its query and key, and changes no bit."""
    from peft import LoraConfig

    pipe = opened("sdxl").pipe
    unet = pipe.unet
    inputs = {
        "sample": torch.randn(1, 4, 8, 12),
        "timestep": 7,
        "encoder_hidden_states": torch.randn(1, 77, unet.config.cross_attention_dim),
        "added_cond_kwargs": {"text_embeds": torch.randn(1, 48), "time_ids": torch.ones(1, 6)},
    }
    base = unet(**inputs).sample
    unet.add_adapter(LoraConfig(r=3, target_modules=["to_q", "to_k"], init_lora_weights=False), "a")
    try:
        plain = unet(**inputs).sample
        with attn.tap(unet, "*.attn2", keep="factors") as tapped:
            out = unet(**inputs).sample
    finally:
        unet.delete_adapters("a")
    assert torch.equal(out, plain)
    assert not torch.equal(out, base)
    probs = tapped.trace.probs(layer=0, step=0)
    assert np.abs(probs.sum("key") - 1).max() < 1e-5


def test_nothing_seen_is_an_error(model):
    """A block in which no attention ran does not end as an empty trace."""
    with pytest.raises(CaptureError, match="no attention kernel ran"), attn.tap(model):
        pass


def test_unknown_modules_are_an_error(model):
    """A glob that matches nothing is named."""
    with pytest.raises(UsageError, match=r"no module of Sequential matches 'blocks\.\*'"):
        attn.tap(model, "blocks.*")


@torch.no_grad()
def test_changed_shapes_are_an_error(model, x):
    """Forwards of other lengths cannot share one trace; the message says what to do."""
    with pytest.raises(CaptureError, match="use one tap for each shape"), attn.tap(model):
        model(x)
        model(x[:, :5])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_are_gone_after_an_error(model, x, error):
    """Whatever leaves the block, no hook and no mode stays behind."""

    def fail(path, attention):
        raise error

    with pytest.raises(error), attn.tap(model, see=fail):
        model(x)
    hooks = [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()]
    assert (sum(hooks), _get_current_dispatch_mode_stack()) == (0, [])


def test_trace_waits_for_the_end(model):
    """Asking too early is an error that says so."""
    with pytest.raises(CaptureError, match="ready after the `with` block"):
        _ = attn.tap(model).trace
