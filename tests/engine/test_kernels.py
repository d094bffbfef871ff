"""Seeing kernels without changing them, and believing them only where they are right."""

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attn.engine import kernels
from attn.errors import CaptureError
from tests.helpers.toy_attention import (
    BATCH,
    CHANNELS,
    DTYPES,
    HEADS,
    KEYS,
    QUERIES,
    exact,
    inputs,
    see,
    states,
    whole,
)

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
run = kernels.run


def tamper(monkeypatch, change):
    """Let every fused kernel return `change(output, lse)` in place of what it computed."""

    def changed(func, bound):
        output, lse = run(func, bound)[:2]
        return change(output, lse)

    monkeypatch.setattr(kernels, "run", changed)


def bits(tensor):
    """Return a tensor's bytes."""
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_output_is_identical(dtype, causal, context):
    """What the model gets is what it gets without us, bit for bit."""
    with context():
        plain = sdpa(*inputs(dtype), is_causal=causal)
        watched, seen, _ = see(sdpa, *inputs(dtype), is_causal=causal)
    assert len(seen) == 1
    assert torch.equal(bits(watched), bits(plain))


def test_every_kind_of_call_is_checked_once():
    """The report has one entry for each shape, dtype, mask and causality, however often it runs."""
    query, key, value = inputs()

    def model():
        for _ in range(3):
            sdpa(query, key, value)
        sdpa(query, key, value, is_causal=True)
        sdpa(query, key, value, attn_mask=states(QUERIES, KEYS))
        sdpa(*inputs(torch.bfloat16))

    _, seen, mode = see(model)
    assert len(seen) == 6
    assert [entry["dtype"] for entry in mode.report.values()] == ["float32"] * 3 + ["bfloat16"]
    assert {(entry["output"], entry["lse"]) for entry in mode.report.values()} == {
        ("identical", "kernel")
    }


def test_report_says_what_ran():
    """An entry of the report names kernel, device, dtype and shapes."""
    _, _, mode = see(sdpa, *inputs())
    assert list(mode.report.values()) == [
        {
            "kernel": "aten::_scaled_dot_product_flash_attention_for_cpu",
            "device": "cpu",
            "dtype": "float32",
            "query": [2, 3, 11, 7],
            "key": [2, 3, 13, 7],
            "output": "identical",
            "lse": "kernel",
        }
    ]


def test_wrong_log_sum_exp_is_recomputed(monkeypatch):
    """A kernel whose log-sum-exp is off is not believed, and probabilities stay exact."""
    tamper(monkeypatch, lambda output, lse: (output, lse + 0.1))
    query, key, value = inputs()
    output, (attention,), mode = see(sdpa, query, key, value)
    assert [entry["lse"] for entry in mode.report.values()] == ["recomputed"]
    assert np.abs(whole(attention) - exact(query, key)).max() <= 1e-5
    assert torch.equal(output, sdpa(query, key, value))


@pytest.mark.parametrize(
    "change",
    [
        lambda output, lse: (output, torch.nn.functional.pad(lse, (0, 21), value=torch.nan)),
        lambda output, lse: (output, lse.unsqueeze(-1)),
    ],
    ids=["efficient pads rows", "cudnn adds an axis"],
)
def test_other_layouts_of_log_sum_exp_are_read(monkeypatch, change):
    """The layouts of the other kernels' log-sum-exp are understood."""
    tamper(monkeypatch, change)
    query, key, value = inputs()
    _, (attention,), mode = see(sdpa, query, key, value)
    assert [entry["lse"] for entry in mode.report.values()] == ["kernel"]
    assert np.abs(whole(attention) - exact(query, key)).max() <= 1e-5


def test_unrepeatable_kernel_is_not_believed(monkeypatch):
    """A kernel that gives two outputs for the same call is reported, its log-sum-exp not used."""
    counter = iter(range(9))
    tamper(monkeypatch, lambda output, lse: (output + next(counter), lse))
    _, _, mode = see(sdpa, *inputs())
    (entry,) = mode.report.values()
    assert (entry["output"], entry["lse"]) == ("not repeatable", "recomputed")


def test_kernel_that_changes_when_asked_is_run_plain(monkeypatch):
    """Where asking for the log-sum-exp changes the output, the model gets the plain output."""
    bind = kernels.bind

    def changed(func, bound):
        requested = bound["compute_log_sumexp"]
        output, lse = run(
            func, {name: bound[name] for name in bound if name != "compute_log_sumexp"}
        )
        return output + 1e-3 * requested, lse

    monkeypatch.setattr(kernels, "bind", lambda *args: bind(*args) | {"compute_log_sumexp": False})
    monkeypatch.setattr(kernels, "run", changed)
    query, key, value = inputs()
    watched, (attention,), mode = see(sdpa, query, key, value)
    assert [entry["output"] for entry in mode.report.values()] == ["differs with log-sum-exp"]
    assert torch.equal(watched, sdpa(query, key, value))
    assert np.abs(whole(attention) - exact(query, key)).max() <= 1e-5


def test_arguments_are_bound_by_name():
    """Positions, keywords and defaults of an operator give the same arguments."""
    query, key, value = inputs()
    by_name = kernels.bind(FLASH, (query, key), {"value": value, "scale": 0.5})
    assert kernels.bind(FLASH, (query, key, value, 0.0, False), {"scale": 0.5}) == by_name
    assert torch.equal(kernels.run(FLASH, by_name)[0], FLASH(query, key, value, scale=0.5)[0])


def test_dropout_is_refused():
    """Attention dropout means a model in training mode, whose kernel says nothing exact."""
    with pytest.raises(CaptureError, match=r"dropout is active; call \.eval\(\)"):
        see(FLASH, *inputs(), dropout_p=0.1)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_refused():
    """A kernel that hides its numbers is named, instead of captured as nothing."""
    with pytest.raises(CaptureError, match="flex_attention runs in place of"):
        see(flex_attention, *inputs())


def weigh(logits, *, axis=-1, dtype=None):
    """Attend in the open: the softmax of logits, times values."""
    probs = torch.softmax(logits, axis, dtype)
    return probs @ states(*logits.shape[:-2], logits.shape[-1], CHANNELS).to(probs)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_open_softmax_is_seen(context, dtype):
    """Code that computes its softmax itself is seen, whatever it converts on the way."""
    query, key, _ = inputs()
    with context():
        logits = query @ key.mT
        _, (attention,), _ = see(weigh, logits, dtype=dtype)
    assert attention.query is None
    assert np.abs(whole(attention) - exact(query, key, scale=1.0)).max() <= 1e-5


@pytest.mark.parametrize(
    ("shape", "taken"),
    [
        ((BATCH * HEADS, QUERIES, KEYS), (1, BATCH * HEADS, QUERIES, KEYS)),
        ((BATCH, HEADS, 5, QUERIES, KEYS), (1, BATCH * HEADS * 5, QUERIES, KEYS)),
        ((QUERIES, KEYS), (1, 1, QUERIES, KEYS)),
    ],
)
def test_softmax_of_other_ranks_is_taken_as_heads(shape, taken):
    """Axes before the last two are heads."""
    _, (attention,), _ = see(weigh, states(*shape))
    assert attention.shape == taken


@pytest.mark.parametrize("shape", [(KEYS,), ()])
def test_softmax_without_queries_is_left_alone(shape):
    """No rank stops the model, and a vector is no attention."""
    _, seen, _ = see(torch.softmax, states(*shape), -1)
    assert not seen


def test_softmax_over_another_axis_is_not_attention():
    """A softmax that does not normalise its last axis is left alone."""
    _, seen, _ = see(weigh, states(BATCH, HEADS, QUERIES, KEYS), axis=1)
    assert not seen


def test_open_softmax_over_a_positive_axis_is_seen():
    """The last axis may be counted from the front."""
    _, (attention,), _ = see(weigh, states(BATCH, HEADS, QUERIES, KEYS), axis=3)
    assert attention.shape == (BATCH, HEADS, QUERIES, KEYS)


def test_nothing_of_the_compiler_lies_around_the_mode():
    """Each operator of a module passes torch's guard of compiled code otherwise, which is slow."""
    function, files = kernels.OperatorMode.__torch_dispatch__, []
    while function is not None:
        files.append(function.__code__.co_filename)
        function = getattr(function, "__wrapped__", None)
    assert kernels.__file__ in files
    assert torch._compile.__file__ not in files


def test_unknown_operators_are_left_out():
    """An operator that this torch does not have is no error."""
    assert kernels._operators("_softmax", "_no_such_kernel") == kernels._operators("_softmax")
