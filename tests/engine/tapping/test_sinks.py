"""`attn.tap` on models with learned sinks: logits beside the keys, which move nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import attn
from attn.errors import CaptureError
from tests.engine.tapping.test_plan import kept_bytes
from tests.helpers.models import language_models as tiny

LENGTH = tiny.PROMPT + tiny.NEW - 1


def with_sink(probs):
    """Put what a row lacks to 1 in front of its keys."""
    return np.concatenate([1 - probs.sum(-1, keepdims=True), probs], -1)


@pytest.fixture(scope="module")
def tapped():
    """A generation, what was planned of it, and float64's matrices of its text, by layer."""
    model = tiny.make("sinks", "eager")
    with attn.tap(model, keep="heads", value_norm=True) as tap:
        ids = tiny.generate(model)[:, :-1]
    mask = torch.ones_like(ids)
    return tap.trace, [with_sink(probs) for probs in tiny.matrices("sinks", ids, mask)]


def test_sink_is_a_key(tapped):
    """Every row has the sink as its first key, and with it sums to 1, in every step."""
    trace, matrices = tapped
    for layer, probs in enumerate(matrices):
        for step, (start, stop) in enumerate(each.span for each in trace.steps):
            got = trace.probs(layer, step, sample=1)
            assert got.segment.values.tolist()[:2] == ["sink", "prompt"]
            np.testing.assert_allclose(got, probs[1][:, start:stop, : stop + 1], atol=6e-4)


def test_mass_of_the_sink(tapped):
    """`total` names the sink beside prompt and text; masses are exact, in float32."""
    trace, matrices = tapped
    total = trace.total(1, "generated").isel(step=-1).squeeze("branch")
    last = matrices[1][:, :, -1]
    expected = [last[..., 0], last[..., 1:6].sum(-1), last[..., 6:].sum(-1)]
    np.testing.assert_allclose(total, np.stack(expected, -1), atol=1e-5)
    assert total.segment.values.tolist() == ["sink", "prompt", "generated"]


def test_sink_moves_nothing(tapped):
    """The norm of what each key moves is 0 for the sink, and for no other."""
    norms = tapped[0].measure("value_norm", 1, "all.all").isel(step=-1)
    assert (norms[..., 0] == 0).all() and (norms[..., 1:] > 0).all()


def test_padding_beside_a_sink():
    """A row of padding, whose sink is all that its mask leaves, is no row."""
    model, mask = tiny.make("sinks", "eager"), tiny.MASKS["left"]
    with torch.no_grad(), attn.tap(model, keep="mass") as tap:
        model(tiny.IDS, attention_mask=mask)
    for layer, probs in enumerate(tiny.matrices("sinks", tiny.IDS, mask)):
        expected = tiny.mass(with_sink(probs), mask.bool().numpy())
        got = tap.trace.mass(layer, "all.all").squeeze(["step", "branch"])
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("keep", ["mass", "maps", "heads"])
def test_plan_counts_the_sink(keep):
    """What a tap plans has the column of the sink, too."""
    model = tiny.make("sinks", "eager")
    with attn.tap(model, keep=keep) as tap:
        planned = tap.plan(tiny.IDS, tiny.NEW)
        tiny.generate(model)
    assert planned.bytes == kept_bytes(tap.trace)


def test_analyses_leave_the_sink_out(tapped, tmp_path):
    """`flow` names the sink; the others see tokens only, and their rows sum to 1 without it."""
    trace, matrices = tapped
    trace.save(tmp_path)
    attn.analyze(tmp_path, only=["flow", "influence", "matrices"], pictures=False)
    flow = pd.read_csv(tmp_path / "analysis/flow/flow.csv")
    last = flow[(flow["rows"] == "generated") & (flow["layer"] == 1) & (flow["step"] == 3)]
    read = last[last["sample"] == 1].set_index("keys")["mass"]
    assert read["sink"] == pytest.approx(matrices[1][1, :, -1, 0].mean(), abs=1e-6)
    tokens = pd.read_csv(tmp_path / "analysis/influence/tokens.csv")["mass"]
    expected = [probs[..., 1:].mean((1, 2)) for probs in matrices]
    np.testing.assert_allclose(tokens, np.ravel(expected), atol=1e-5)
    pairs = pd.read_csv(tmp_path / "analysis/matrices/pairs.csv")
    assert pairs["mass"].max() == pytest.approx(1)  # the first row has one token to read


class Scaled(nn.Module):
    """Attention whose output is scaled by what its sink leaves, behind the kernel."""

    def __init__(self):
        super().__init__()
        self.sinks = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        heads = x.unflatten(-1, (3, -1)).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)


def test_sink_beside_the_softmax_is_refused():
    """Where the kernel's softmax is without the sink, its probabilities are not those used."""
    refused = pytest.raises(CaptureError, match=r"has learned sinks \(sinks\), which are not among")
    with torch.no_grad(), refused, attn.tap(Scaled()) as tap:
        tap._model(torch.randn(1, 5, 6))
