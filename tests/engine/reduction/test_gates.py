"""Gates are reduced to a few numbers, end up where they belong, and are missed where they lack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attn.analysis.gates import pool
from attn.engine.plan import Keep, make_plan
from attn.engine.reduction.gates import summarise
from attn.engine.run import record
from attn.errors import CaptureError
from attn.schema import Call, Gate, Layer, Segment, Sequence
from tests.helpers.toy_attention import HEADS, KEYS, QUERIES, Attend

PIXELS = Segment("image", "image", 0, QUERIES, (1, QUERIES))
CLIP = Segment("clip", "text", 0, KEYS)
GATES = (Gate("image", "0.gate"),)
CROSS = Layer(0, "denoiser", "0", "cross", HEADS, (PIXELS,), (CLIP,), gates=GATES)
SELF = Layer(
    1, "denoiser", "1", "self", HEADS, (PIXELS,), (PIXELS,), gates=(Gate("image", "1.gate"),)
)
ROWS = (("uncond", 0), ("cond", 0))


def plainly(values, heads):
    """Return what is kept of values (query, head · channel), in float64."""
    by_head = values.reshape(len(values), heads, -1).swapaxes(0, 1).reshape(heads, -1)
    shares = (by_head < 0.5).mean(1), (by_head < 0.1).mean(1)
    return np.stack([by_head.mean(1), by_head.std(1), *shares], 1)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics(dtype, channels):
    """Mean, population standard deviation and shares are those of all values of a head."""
    values = torch.rand(7, 3 * channels, generator=torch.Generator().manual_seed(2)).to(dtype)
    result = summarise(values, 3)
    assert result.dtype == torch.float32
    wanted = plainly(values.double().numpy(), 3)
    np.testing.assert_allclose(result.numpy(), wanted, rtol=0, atol=1e-6)


def test_activation(monkeypatch):
    """What a module returns before its sigmoid is summarised behind it, however few heads fit."""
    logits = torch.randn(7, 15, generator=torch.Generator().manual_seed(2))
    wanted = plainly(1 / (1 + np.exp(-logits.double().numpy())), 3)
    np.testing.assert_allclose(summarise(logits, 3, "sigmoid"), wanted, rtol=0, atol=1e-6)
    monkeypatch.setattr("attn.engine.reduction.gates.LARGEST", 2 * 7 * 5)
    np.testing.assert_allclose(summarise(logits, 3, "sigmoid"), wanted, rtol=0, atol=1e-6)


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 99))
def test_pooled(sets, count, seed):
    """Statistics of equally large sets pool to those of all their values."""
    values = np.random.default_rng(seed).random((sets, count))
    item = np.stack([plainly(each[:, np.newaxis], 1)[0] for each in values])
    whole = plainly(values.reshape(-1, 1), 1)[0]
    np.testing.assert_allclose(pool(item, 0), whole, rtol=0, atol=1e-9)


class Gated(Attend):
    """Attention with a gate beside it, which returns what it is given."""

    def __init__(self, values, *, keys=KEYS, runs=1):
        super().__init__(keys=keys)
        self.gate, self.values, self.runs = nn.Identity(), values, runs

    def forward(self, rows=2):
        """Gate as often as asked, and attend."""
        for _ in range(self.runs):
            self.gate(self.values)
        return super().forward(rows)


class Model(nn.Sequential):
    """Modules on a batch of some rows."""

    def forward(self, rows):
        """Run every part."""
        for part in self:
            part(rows)


def values(rows=2, queries=QUERIES, numbers=2 * HEADS, seed=0):
    """Return gates (row, query, head · channel)."""
    return torch.rand(rows, queries, numbers, generator=torch.Generator().manual_seed(seed))


def run(model, every, *, branches=("cond",), before=lambda: None, **keep):
    """Record one call, with something done before it; return the plan and its tensors."""
    sequence = Sequence((CLIP,), ())
    plan = make_plan(
        every,
        {"cond": sequence, "uncond": sequence},
        Keep(branches=branches, **keep),
        samples=1,
        steps=1,
        dtype="F32",
    )
    written = {}

    def generate(on_call):
        before()
        on_call(Call("denoiser", 0, 900.0, 0.9, ROWS))
        model(2)

    record({"denoiser": model}, [plan], 1, generate, lambda trace, step, item: written.update(item))
    return plan, written


def test_rows_go_to_their_branch():
    """Each guidance row has the statistics of its own row of the batch, and bytes are planned."""
    own = values()
    plan, written = run(Model(Gated(own)), [CROSS], branches=("cond", "uncond"))
    for index, row in enumerate((1, 0)):
        wanted = plainly(own[row].double().numpy(), HEADS)
        np.testing.assert_allclose(written["0/gate.image"][index, 0], wanted, rtol=0, atol=1e-6)
    assert plan.step_shapes()["0/gate.image"] == ((2, 1, HEADS, 4), "F32")


def test_layers_that_are_kept_for_their_gates():
    """A layer without a kept block is captured for its gates alone, unless others are asked for."""
    model = Model(Gated(values()), Gated(values(seed=1), keys=QUERIES))
    plan, written = run(model, [CROSS, SELF])
    assert [entry.layer.blocks for entry in plan.layers] == [("image.text",), ()]
    assert plan.kept.layers == (0,)
    assert [name for name in written if name.startswith("1/")] == ["1/gate.image"]
    _, written = run(model, [CROSS, SELF], layers=("0",))
    assert "1/gate.image" not in written


def test_gates_of_all_queries():
    """Of a module that returns values of the whole layer, each part has those of its queries."""
    text = Segment("clip", "text", 0, 4)
    image = Segment("image", "image", 7, QUERIES, (1, QUERIES - 7))
    layer = replace(
        CROSS,
        queries=(text, Segment("filling", "padding", 4, 7), image),
        gates=tuple(Gate(name, "0.gate", "sigmoid", whole=True) for name in ("image", "text")),
    )
    logits = values(seed=3) * 7 - 3
    _, written = run(Model(Gated(logits)), [layer])
    exact = 1 / (1 + np.exp(-logits[1].double().numpy()))
    for name, part in (("text", exact[:4]), ("image", exact[7:])):
        kept = written[f"0/gate.{name}"][0, 0]
        np.testing.assert_allclose(kept, plainly(part, HEADS), rtol=0, atol=1e-6)


class Halved(nn.Module):
    """What stands where a gate was: a LoRA, say."""

    def forward(self, values):
        """Return half of the values."""
        return values / 2


def test_module_that_takes_the_place_of_a_gate():
    """What stands there when the model runs is what is watched, and nothing is left of it."""
    own = values()
    model = Model(Gated(own))
    first, second = model[0].gate, Halved()
    _, written = run(model, [CROSS], before=lambda: setattr(model[0], "gate", second))
    wanted = plainly(own[1].double().numpy() / 2, HEADS)
    np.testing.assert_allclose(written["0/gate.image"][0, 0], wanted, rtol=0, atol=1e-6)
    assert not (first._forward_hooks or second._forward_hooks or model._forward_pre_hooks)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Gated(values(), runs=0), "layer 0 ran in step 0, but not its gate 0.gate"),
        (Gated(values(), runs=2), r"the gate of 0 \(image\) ran twice in one call"),
        (Gated(values(queries=5)), r"has values \[2, 5, 6\], expected \[2, 11\] and a multiple of"),
        (Gated(values(numbers=7)), r"has values \[2, 11, 7\], expected \[2, 11\] and a multiple"),
    ],
)
def test_gates_that_are_not_as_declared(module, message):
    """A gate that does not run, runs twice or has another shape is an error, never a gap."""
    with pytest.raises(CaptureError, match=message):
        run(Model(module), [CROSS])


def test_nothing_is_left():
    """After a recording the gate's module has no hook."""
    model = Model(Gated(values()))
    run(model, [CROSS])
    assert not model[0].gate._forward_hooks
