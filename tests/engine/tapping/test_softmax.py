"""`attn.tap` on models that compute their softmax in the open."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, DynamicCache, LongformerConfig, LongformerModel

import attn
from attn.errors import CaptureError, UsageError
from tests.helpers.models import language_models as tiny

BATCH, LENGTH, HEADS, CHANNELS = 2, 11, 3, 7


class Einsum(nn.Module):
    """Attention whose softmax has the axes batch, query, head, key."""

    def __init__(self, axis=-1):
        super().__init__()
        self.num_heads, self.axis = HEADS, axis
        self.qkv = nn.Linear(HEADS * CHANNELS, 3 * HEADS * CHANNELS)

    def forward(self, x):
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, CHANNELS)).unbind(2)
        if self.axis == -1:
            probs = torch.einsum("bnhd,bmhd->bnhm", query, key).softmax(-1)
            self.probs = probs.permute(0, 2, 1, 3)
            return torch.einsum("bnhm,bmhd->bnhd", probs, value).flatten(2)
        probs = torch.einsum("bnhd,bmhd->bhmn", query, key).softmax(2)
        self.probs = probs.mT
        return torch.einsum("bhmn,bmhd->bnhd", probs, value).flatten(2)


@pytest.fixture
def x():
    torch.manual_seed(7)
    return torch.randn(BATCH, LENGTH, HEADS * CHANNELS)


@torch.no_grad()
@pytest.mark.parametrize(("axis", "axes"), [(-1, "bqhk"), (2, "bhkq")])
def test_named_axes(x, axis, axes):
    """Axes that are named are put in order, the softmax over the keys wherever they are."""
    model = Einsum(axis)
    with attn.tap(model, keep="heads", axes=axes) as tapped:
        model(x)
    got = tapped.trace.headmaps(0, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, model.probs, atol=6e-4)
    assert tapped.trace.manifest.warnings == ()


@torch.no_grad()
def test_axes_in_another_order_are_refused(x):
    """Heads where queries should be contradict the module's own number of heads."""
    model = Einsum()
    with pytest.raises(CaptureError) as error, attn.tap(model):
        model(x)
    assert str(error.value) == (
        "the model itself has 3 heads, but its softmax would have 11 heads and 3 queries; its axes "
        "are others than batch, head, query, key: name them, as in axes='bqhk'"
    )


@torch.no_grad()
def test_named_axes_that_contradict_the_module(x):
    """Axes that the user names are held against the module, too."""
    model = nn.Sequential(Einsum())
    refused = pytest.raises(CaptureError, match=r"^0 has 3 heads, .* others than axes= names$")
    with refused, attn.tap(model, axes="bhqk"):
        model(x)


@pytest.mark.parametrize("axes", ["bnhm", "qq", "bh", {"*": "xyz"}])
def test_letters_of_axes(axes, unchecked):
    """Letters that stand for nothing are refused before anything runs."""
    with pytest.raises(UsageError, match=r"^axes: expected the letters b .batch., h .head., q"):
        attn.tap(Einsum(), axes=axes)


@torch.no_grad()
def test_assumed_axes_are_marked(x):
    """Where nothing says what the axes are, the trace does."""

    class Unnamed(nn.Module):
        def forward(self, x):
            parts = x.unflatten(-1, (HEADS, CHANNELS)).permute(1, 2, 0, 3)  # position first
            return (parts @ parts.mT).softmax(-1) @ parts

    model = Unnamed()
    with attn.tap(model) as tapped:
        model(x.transpose(0, 1))
    (warning,) = tapped.trace.manifest.warnings
    assert warning.startswith("1 modules compute their softmax in the open, such as ")
    assert tapped.trace.manifest.identity["axes_assumed"] == [""]


@torch.no_grad()
def test_as_many_heads_as_queries(x):
    """Axes that fit both ways are assumed, until another call or `axes=` tells them apart."""
    expected = [(None, [""], 1), ("bqhk", [], 0)]
    for axes, assumed, warnings in expected:
        model = Einsum()
        with attn.tap(model, axes=axes, keep="heads") as tapped:
            model(x[:, :HEADS])
        manifest = tapped.trace.manifest
        assert (manifest.identity["axes_assumed"], len(manifest.warnings)) == (assumed, warnings)
        assert all("such as axes='bqhk'" in warning for warning in manifest.warnings)
    got = tapped.trace.headmaps(0, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, model.probs, atol=6e-4)


def test_another_call_confirms_the_axes():
    """A step of another length says what the axes were where there were as many as heads."""
    model, cache = tiny.make("llama", "eager"), DynamicCache()
    text = torch.arange(3, 4 + tiny.HEADS)[None]
    with torch.no_grad(), attn.tap(model, keep="mass") as tapped:
        model(text[:, :-1], past_key_values=cache)
        model(text[:, -1:], past_key_values=cache)
    assert tapped.trace.manifest.warnings == ()


@torch.no_grad()
def test_longformer_needs_its_axes():
    """Windows of keys, heads behind queries: refused by the module's name, right with axes."""
    torch.manual_seed(3)
    sizes = tiny.SIZES | {"eos_token_id": 2}
    model = LongformerModel(LongformerConfig(attention_window=[4, 4], **sizes)).eval()
    ids = torch.randint(3, tiny.VOCABULARY, (BATCH, 8))
    refused = pytest.raises(
        CaptureError, match=r"^encoder\.layer\.0\.attention\.self has 6 heads, "
    )
    with refused, attn.tap(model, "*.self"):
        model(ids)
    with attn.tap(model, "*.self", axes="bqhk", keep="heads") as tapped:
        expected = model(ids, output_attentions=True).attentions[0]
    got = tapped.trace.headmaps(0, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, expected, atol=6e-4)


class Router(nn.Module):
    """Picks experts by a softmax, and classifies by another one; nothing of it attends."""

    def __init__(self):
        super().__init__()
        self.choose, self.classify = nn.Linear(21, 5), nn.Linear(21, 3)
        self.after = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        weights, _ = self.choose(x).softmax(-1).topk(2)
        routed = (weights.unsqueeze(-1) * x.unsqueeze(2)).sum(2)
        return self.after(self.classify(routed).softmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_softmax_of_no_values_is_no_attention(x, context):
    """Routers and classifiers are not taken for attention."""
    model = Router()
    with context(), pytest.raises(CaptureError) as error, attn.tap(model):
        model(x)
    assert str(error.value).startswith(
        "no attention kernel ran in the tapped modules (the model itself, choose"
    )


class Mixture(nn.Module):
    """Weighs the outputs of all experts, which each position has for itself."""

    def __init__(self, multiply):
        super().__init__()
        self.gate, self.experts = nn.Linear(21, 5), nn.Linear(21, 5 * 13)
        self.multiply = multiply

    def forward(self, x):
        return self.multiply(self.gate(x).softmax(-1), self.experts(x).unflatten(-1, (5, 13)))


@torch.no_grad()
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    "multiply",
    [
        lambda weights, y: torch.einsum("...e,...ef->...f", weights, y),
        lambda weights, y: weights.unsqueeze(-2) @ y,
        lambda weights, y: y.mT @ weights.unsqueeze(-1),
    ],
)
def test_mixtures_of_all_experts_are_no_attention(x, axes, multiply):
    """Values that each query has for itself are no keys."""
    model = Mixture(multiply)
    with pytest.raises(CaptureError, match=r"^no attention kernel ran"), attn.tap(model):
        model(x if axes == x.ndim else x.flatten(0, 1))


@torch.no_grad()
def test_one_query_is_attention(x):
    """A single query over keys multiplies one row, too, and is recorded."""

    class Pool(nn.Module):
        def forward(self, x):
            return (x[:, :1] @ x.mT).softmax(-1) @ x

    model = Pool()
    with attn.tap(model, keep="heads") as tapped:
        model(x)
    assert tapped.trace.layers[0].num_heads == 1


def test_routers_of_a_model_are_left_out():
    """Of a mixture of experts only the attention is recorded."""
    model = tiny.make("experts", "eager")
    with torch.no_grad(), attn.tap(model) as tapped:
        model(tiny.IDS)
    assert [layer.path.rpartition(".")[2] for layer in tapped.trace.layers] == ["self_attn"] * 2


@torch.no_grad()
def test_shared_weights_are_a_layer_per_call():
    """A module that is called again and again is a layer for each call."""
    sizes = tiny.SIZES | {"num_hidden_layers": 3, "embedding_size": 13, "eos_token_id": 2}
    torch.manual_seed(3)
    model = AlbertModel(AlbertConfig(**sizes, attn_implementation="eager")).eval()
    with attn.tap(model, keep="heads") as tapped:
        expected = model(tiny.IDS, output_attentions=True).attentions
    path = "encoder.albert_layer_groups.0.albert_layers.0.attention"
    names = [layer.path for layer in tapped.trace.layers]
    assert names == [path, f"{path}#2", f"{path}#3"]
    for layer, attention in enumerate(expected):
        got = tapped.trace.headmaps(layer, "all.all").squeeze(["step", "branch"])
        np.testing.assert_allclose(got, attention, atol=6e-4)
