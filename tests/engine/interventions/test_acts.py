"""What acts do to one kernel call, held against float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from attn.backends.testing.oracle import as_float64
from attn.engine.interventions.acts import Edit, EditAxes
from attn.engine.interventions.mode import Edits, InterventionMode, Treated
from attn.engine.interventions.swaps import RowStates
from attn.engine.kernels import KernelMode
from attn.errors import CaptureError
from tests.helpers.toy_attention import BATCH, HEADS, KEYS, QUERIES, exact, inputs, whole

SHAPE = BATCH, HEADS, QUERIES, KEYS
CUT = (3, 7)
ACTS = [
    ("mask", 0.0),
    ("scale", 0.3),
    ("scale", 0.0),
    ("bias", -1.7),
    ("weigh", 0.4),
    ("mean", 0.0),
    ("skip", 0.0),
]


def where(*, row=1, head=2, keys=CUT):
    """Return a part of the call: keys of one head of one row."""
    part = torch.zeros(BATCH, HEADS, 1, KEYS, dtype=torch.bool)
    part[row, head, :, list(keys)] = True
    return part


def oracle(act, amount, query, key, part, **kwargs):
    """Return the probabilities that an act leaves, float64."""
    factor = {"scale": amount, "mask": 0.0, "bias": np.exp(amount)}
    probs = exact(query, key, **kwargs)
    selected = np.broadcast_to(part.numpy(), probs.shape)
    if act in factor:
        probs = probs * np.where(selected, factor[act], 1)
        return probs / probs.sum(-1, keepdims=True)
    if act == "mean":
        return np.where(selected.any(-1, keepdims=True), probs.mean(2, keepdims=True), probs)
    return np.where(selected, {"weigh": amount, "skip": 0.0}[act] * probs, probs)


def run(function, edits, shape=SHAPE):
    """Run a function with edits; return its result, what a tap around saw, and what was done."""
    seen, treated = [], Treated()
    axes = tuple(EditAxes(of.act, of.amount, *factors(of.where)) for of in edits)
    with KernelMode(seen.append), InterventionMode(lambda: Edits("toy", shape, axes), treated):
        result = function()
    (attention,) = seen
    return result, attention, treated


def factors(part):
    """Return the heads, queries and keys of each row of a part."""
    return part.any(-1).any(-1), part.any(-1).any(1), part.any(1).any(1)


def in_the_open(query, key, value):
    """Compute attention as legacy code does, with heads in the first of three axes."""
    scaled = query.flatten(0, 1) @ key.flatten(0, 1).mT * query.shape[-1] ** -0.5
    return (torch.softmax(scaled, -1) @ value.flatten(0, 1)).unflatten(0, query.shape[:2])


@pytest.mark.parametrize("kernel", ["fused", "causal", "open"])
@pytest.mark.parametrize(("act", "amount"), ACTS)
def test_act_is_exact(act, amount, kernel):
    """Output and recorded probabilities are those of the changed softmax, in float64."""
    query, key, value = inputs()
    part = where(keys=(0, 7) if kernel != "causal" else (3, 7))
    attend = in_the_open if kernel == "open" else sdpa
    options = {"is_causal": True} if kernel == "causal" else {}
    edit = Edit(act, amount, part)
    output, attention, treated = run(lambda: attend(query, key, value, **options), (edit,))
    expected = oracle(act, amount, query, key, part, causal=kernel == "causal")
    shape = expected.shape if kernel != "open" else (1, BATCH * HEADS, QUERIES, KEYS)
    np.testing.assert_allclose(whole(attention), expected.reshape(shape), atol=3e-6)
    np.testing.assert_allclose(as_float64(output), expected @ as_float64(value), atol=1e-5)
    assert treated.count == 1


@pytest.mark.parametrize("act", ["weigh", "mean", "skip"])
def test_explicit_softmax_is_near_the_kernel(act):
    """Heads in the open differ from the kernel by 1e-5 at most before the act, which is told."""
    query, key, value = inputs()
    _, _, treated = run(lambda: sdpa(query, key, value), (Edit(act, 0.5, where()),))
    assert 0 <= treated.explicit <= 1e-5


def test_other_heads_keep_the_kernel():
    """Where an act needs an explicit softmax, heads without an act keep their very bits."""
    query, key, value = inputs()
    output, _, _ = run(lambda: sdpa(query, key, value), (Edit("mean", 0.0, where()),))
    plain = sdpa(query, key, value)
    assert torch.equal(output[0], plain[0])
    assert torch.equal(output[1, :2], plain[1, :2])
    assert not torch.equal(output[1, 2], plain[1, 2])


def test_shared_keys():
    """Heads that share a key are changed one by one."""
    query, key, value = inputs(heads=6, key_heads=2)
    part = torch.zeros(1, 6, 1, KEYS, dtype=torch.bool)
    part[:, 5, :, 4] = True
    shape = BATCH, 6, QUERIES, KEYS
    edits = (Edit("mask", 0.0, part), Edit("skip", 0.0, part.roll(1, 1).any(-1, keepdim=True)))
    output, attention, _ = run(lambda: sdpa(query, key, value, enable_gqa=True), edits, shape)
    expected = oracle("mask", 0.0, query, key, part)
    expected[:, 0] = 0
    np.testing.assert_allclose(whole(attention), expected, atol=3e-6)
    shared = np.repeat(as_float64(value), 3, 1)
    np.testing.assert_allclose(as_float64(output), expected @ shared, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_row_without_keys_is_an_error(masked):
    """To hide what the model's own mask has left of a row is refused, where it happens."""
    query, key, value = inputs()
    mask = torch.ones(QUERIES, KEYS, dtype=torch.bool)
    mask[5, 2:] = not masked
    edit = Edit("mask", 0.0, where(keys=(0, 1) if masked else range(KEYS)))
    with pytest.raises(CaptureError, match="hides every key of a row in toy"):
        run(lambda: sdpa(query, key, value, attn_mask=mask), (edit,))
    assert not _get_current_dispatch_mode_stack()


def test_call_of_another_shape_is_left_alone():
    """Kernels of adapters, which have other keys, run as they are."""
    query, key, value = inputs(keys=KEYS - 2)
    output, _, treated = run(lambda: sdpa(query, key, value), (Edit("mask", 0.0, where()),))
    assert torch.equal(output, sdpa(query, key, value))
    assert treated.count == 0


def test_inference_tensors():
    """Tensors of inference mode, whose calls come undecomposed, are changed all the same."""
    with torch.inference_mode():
        query, key, value = inputs()
        edits = (Edit("mask", 0.0, where()), Edit("mean", 0.0, where(row=0)))
        _, attention, treated = run(lambda: sdpa(query, key, value), edits)
    assert treated.count == 1
    assert whole(attention)[1, 2][:, list(CUT)].max() == 0


@pytest.mark.parametrize("act", ["swap", "swap_keys", "swap_values"])
@pytest.mark.parametrize("head", [None, 2])
def test_swap_is_exact(act, head):
    """Keys, values or both of two positions are another run's, for a whole row or for one head."""
    query, key, value = inputs()
    other = [-of.flip(0) for of in (key, value)]
    rows = torch.arange(BATCH)[:, None] == 1
    heads = (
        torch.ones(1, 1, dtype=torch.bool) if head is None else torch.arange(HEADS)[None] == head
    )
    keys = (torch.arange(KEYS)[None, :, None] == torch.tensor(CUT)).any(-1)
    axes = EditAxes(act, 0.0, rows & heads, torch.ones(BATCH, 1, dtype=torch.bool), rows & keys)
    states = RowStates(torch.tensor(CUT), *(of[1][:, list(CUT)] for of in other))
    edits = Edits("toy", SHAPE, (axes,), states=(None, states))
    seen, treated = [], Treated()
    with KernelMode(seen.append), InterventionMode(lambda: edits, treated):
        output = sdpa(query, key, value)
    swapped = [of.clone() for of in (key, value)]
    for mine, of in zip(swapped, other, strict=True):
        mine[1][:, list(CUT)] = of[1][:, list(CUT)]
    new_key = key if act == "swap_values" else swapped[0]
    new_value = value if act == "swap_keys" else swapped[1]
    probs, plain = exact(query, new_key), exact(query, key)
    expected = probs @ as_float64(new_value)
    if head is not None:
        others = [of for of in range(HEADS) if of != head]
        probs[:, others] = plain[:, others]
        expected[:, others] = (plain @ as_float64(value))[:, others]
    np.testing.assert_allclose(whole(seen[0]), probs, atol=3e-6)
    np.testing.assert_allclose(as_float64(output), expected, atol=1e-5)
    assert (treated.explicit is None) == (head is None)


def test_negative_factor():
    """The output is turned around; what is recorded are the probabilities before that."""
    query, key, value = inputs()
    part = where(keys=range(KEYS))
    output, attention, _ = run(lambda: sdpa(query, key, value), (Edit("weigh", -2.0, part),))
    expected = exact(query, key)
    np.testing.assert_allclose(whole(attention), expected, atol=3e-6)
    weighed = oracle("weigh", -2.0, query, key, part)
    np.testing.assert_allclose(as_float64(output), weighed @ as_float64(value), atol=1e-5)


@pytest.mark.parametrize(("act", "amount"), [("swap", 0.0), ("weigh", -2.0)])
def test_softmax_in_the_open(act, amount):
    """What needs keys, or leaves no probabilities, cannot be done there, which is said."""
    edits = (Edit(act, amount, where()),)
    with pytest.raises(CaptureError, match="toy computes its softmax in the open, where"):
        run(lambda: in_the_open(*inputs()), edits)


def test_a_mask_is_made_once():
    """Calls that are alike share a mask, also those of layers that are laid out alike."""
    axes = EditAxes("mask", 0.0, *(torch.ones(1, 1, dtype=torch.bool),) * 2, torch.eye(2, 7) > 0)
    edits = Edits("attn", (2, 3, 5, 7), (axes,))
    call = edits.laid_out(edits.shape, torch.device("cpu"))
    mask = call.mask("attn", None, torch.float32)
    again = replace(edits, name="other").laid_out(edits.shape, torch.device("cpu"))
    assert again is call
    assert again.mask("other", None, torch.float32) is mask
    assert again.mask("other", None, torch.bfloat16).dtype == torch.bfloat16
