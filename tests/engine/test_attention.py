"""Probabilities of one kernel call against float64, whatever the kernel was given."""

import numpy as np
import pytest
import torch
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attn.errors import CaptureError
from tests.helpers.toy_attention import (
    BATCH,
    CHANNELS,
    DTYPES,
    HEADS,
    KEYS,
    QUERIES,
    TOLERANCE,
    attend,
    exact,
    given,
    inputs,
    see,
    states,
    whole,
)

LOWEST_ROWS = 2**-8
"""float16's lowest number leaves a fully masked row's logits, in float32, known to this."""


def mask_of(shape, hidden, dtype=torch.float32, value=-torch.inf):
    """Return an additive mask that hides the positions in `hidden` along its last axis."""
    mask = torch.zeros(shape, dtype=dtype)
    mask[..., hidden] = value
    return mask


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_probs_are_exact(dtype):
    """A fused kernel's probabilities are the softmax of its query and key, in every dtype."""
    query, key, value = inputs(dtype)
    got = whole(attend(query, key, value))
    assert got.shape == (BATCH, HEADS, QUERIES, KEYS)
    assert np.abs(got - exact(query, key)).max() <= TOLERANCE[dtype]


def test_scale_counts():
    """A model's own scale is used instead of the usual one."""
    query, key, value = inputs()
    got = whole(attend(query, key, value, scale=0.31))
    assert np.abs(got - exact(query, key, scale=0.31)).max() <= 1e-5


@pytest.mark.parametrize(("queries", "keys"), [(11, 13), (13, 11), (11, 11)])
def test_causal_rows_see_no_later_key(queries, keys):
    """A causal flag hides the keys after the query, counted from the upper left."""
    query, key, value = inputs(queries=queries, keys=keys)
    got = whole(attend(query, key, value, is_causal=True))
    assert not got[..., 0, 1:].any()
    assert np.abs(got - exact(query, key, causal=True)).max() <= 1e-5


def test_grouped_queries_share_keys_in_runs():
    """With grouped queries, heads 0-2 read key head 0 and heads 3-5 key head 1."""
    query, key, value = inputs(heads=6, key_heads=2)
    attention = attend(query, key, value, enable_gqa=True)
    assert np.abs(whole(attention) - exact(query, key)).max() <= 1e-5
    some = attention.probs(1, slice(2, 5), slice(3, 8), slice(4, 9))
    assert np.abs(some.numpy() - exact(query, key)[1, 2:5, 3:8, 4:9]).max() <= 1e-5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape",
    [
        (QUERIES, KEYS),
        (1, KEYS),
        (BATCH, 1, 1, KEYS),
        (BATCH, 1, QUERIES, KEYS),
        (1, HEADS, 1, KEYS),
    ],
)
def test_masks_hide_keys(dtype, shape):
    """An additive mask counts however it repeats over batch, heads and queries."""
    query, key, value = inputs(dtype)
    mask = mask_of(shape, [2, 5, 12], dtype) + states(*shape, dtype=dtype, seed=9)
    got = whole(attend(query, key, value, attn_mask=mask))
    assert not got[..., [2, 5, 12]].any()
    assert np.abs(got - exact(query, key, mask=mask)).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bool_masks_hide_keys(dtype):
    """A boolean mask means what it means to torch: False hides."""
    query, key, value = inputs(dtype)
    mask = states(BATCH, 1, QUERIES, KEYS, seed=5) > 0
    got = whole(attend(query, key, value, attn_mask=mask))
    assert np.abs(got - exact(query, key, mask=mask)).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["float", "bool"])
def test_rows_that_see_nothing_are_zero(dtype, kind):
    """A row whose every key is -inf has no probabilities, not NaN, and spoils no other row."""
    query, key, value = inputs(dtype)
    mask = torch.zeros(QUERIES, KEYS, dtype=dtype)
    mask[[2, 5]] = -torch.inf
    mask = mask if kind == "float" else mask == 0
    sums = whole(attend(query, key, value, attn_mask=mask)).sum(-1)
    assert not sums[..., [2, 5]].any()
    assert np.abs(np.delete(sums, [2, 5], -1) - 1).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("shape", [(QUERIES, KEYS), (BATCH, 1, QUERIES, KEYS), (QUERIES, 1)])
def test_rows_of_lowest_numbers_are_uniform(dtype, shape):
    """Rows masked throughout by the lowest number are even, as the kernel spreads its values."""
    query, key, value = inputs(dtype)
    mask = torch.zeros(shape, dtype=dtype)
    mask[..., [2, 5], :] = torch.finfo(dtype).min
    got = whole(attend(query, key, value, attn_mask=mask))
    assert np.abs(got[..., [2, 5], :] - 1 / KEYS).max() <= 1e-7
    out = sdpa(query, key, value, attn_mask=mask)[..., 5, :]
    assert torch.allclose(
        out.float(), value.float().mean(-2), atol=1e-2 if dtype.itemsize < 4 else 1e-6
    )


def test_uniform_rows_leave_hidden_keys_out():
    """Where -inf and the lowest number meet, the row is even over the keys that are not -inf."""
    query, key, value = inputs()
    mask = torch.zeros(QUERIES, KEYS)
    mask[[2, 5]] = torch.finfo(torch.float32).min
    mask[:, :4] = -torch.inf
    got = whole(attend(query, key, value, attn_mask=mask))
    assert not got[..., :4].any()
    assert np.abs(got[..., [2, 5], 4:] - 1 / 9).max() <= 1e-7
    assert np.abs(got.sum(-1) - 1).max() <= 1e-5


def test_lowest_float16_rows_are_nearly_exact():
    """The lowest float16 leaves the logits there, to the precision of their sum."""
    query, key, value = inputs(torch.float16)
    mask = torch.zeros(QUERIES, KEYS, dtype=torch.float16)
    mask[[2, 5]] = torch.finfo(torch.float16).min
    got = whole(attend(query, key, value, attn_mask=mask))
    assert np.abs(got - exact(query, key, mask=mask)).max() <= LOWEST_ROWS


def test_three_dimensions_are_one_row():
    """Inputs without a batch axis go through the open softmax, whose result is what counts."""
    query, key, value = (tensor[0] for tensor in inputs())
    attention = attend(query, key, value)
    assert attention.open_probs is not None
    assert np.abs(whole(attention) - exact(query[None], key[None])).max() <= 1e-5


@pytest.mark.parametrize("dims", [3, 4])
def test_inference_tensors_are_seen(dims):
    """Under inference_mode torch hands over undecomposed operators; both kernels are still seen."""
    with torch.inference_mode():
        query, key, value = (tensor[0] if dims == 3 else tensor for tensor in inputs())
        got = whole(attend(query, key, value))
    batch = BATCH if dims == 4 else 1
    query, key = (tensor.reshape(batch, HEADS, -1, CHANNELS) for tensor in (query, key))
    assert np.abs(got - exact(query, key)).max() <= 1e-5


def test_autocast_shows_what_ran():
    """Under autocast the kernel reads bfloat16, and our own sums stay float32."""
    query, key, value = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention = attend(query, key, value)
    assert attention.query.dtype == torch.bfloat16
    assert np.abs(whole(attention) - exact(query.bfloat16(), key.bfloat16())).max() <= 1e-4


def test_gradients_are_not_kept():
    """A model that is trained while it is watched hands out tensors without their graph."""
    query, key, value = inputs()
    attention = attend(query.requires_grad_(), key, value)
    assert not attention.probs(0, slice(0, 2), slice(0, 5), slice(0, 3)).requires_grad
    assert np.abs(whole(attention) - exact(query, key)).max() <= 1e-5


def test_double_precision_is_seen():
    """A float64 model is captured in float32."""
    query, key, value = inputs(torch.float64)
    assert np.abs(whole(attend(query, key, value)) - exact(query, key)).max() <= 1e-5


def test_result_is_written_where_asked():
    """A given buffer is used, so that a capture asks for no new memory."""
    out = torch.empty(2, 5, 4)
    attention = attend(*inputs())
    probs = attention.probs(1, slice(1, 3), slice(2, 7), slice(6, 10), out)
    assert probs.data_ptr() == out.data_ptr()
    assert np.array_equal(out.numpy(), attention.probs(1, slice(1, 3), slice(2, 7), slice(6, 10)))


def test_given_probs_are_cut_alike():
    """Blocks of an open softmax are cut by the same indices as those of a fused kernel."""
    attention = given(BATCH, HEADS, QUERIES, KEYS)
    indices = torch.tensor([1, 4, 5, 12])
    got = attention.probs(1, slice(1, 3), slice(2, 7), indices)
    assert torch.equal(got, attention.open_probs[1, 1:3, 2:7][..., indices])


@pytest.mark.parametrize("slab", [1, 4, 256])
@pytest.mark.parametrize("causal", [False, True])
def test_own_log_sum_exp_is_the_kernels(slab, causal):
    """The log-sum-exp computed slab by slab is the one that the kernel hands out."""
    attention = attend(*inputs(), is_causal=causal)
    assert torch.allclose(attention.log_sum_exp(slab), attention.lse, atol=2e-6)


def test_own_log_sum_exp_of_hidden_rows_is_zero():
    """Rows that see nothing get 0, as from the kernel, so that their probabilities are 0."""
    attention = attend(*inputs(), attn_mask=mask_of((QUERIES, KEYS), slice(None)))
    assert torch.equal(attention.log_sum_exp(), attention.lse)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((BATCH, 1, 1, KEYS), (1, 1, KEYS)),
        ((QUERIES, KEYS), (1, QUERIES, KEYS)),
        ((BATCH, 1, QUERIES, KEYS), (1, QUERIES, KEYS)),
    ],
)
def test_row_mask_does_not_repeat_itself(shape, kept):
    """A row's mask is as small as the model gave it, though torch expands it."""
    mask = states(*shape, seed=4)
    query, key, value = inputs()
    got = attend(query, key, value, attn_mask=mask).row_mask(1)
    assert got.shape == kept
    assert torch.equal(
        got.broadcast_to(HEADS, QUERIES, KEYS)[0], mask.broadcast_to(BATCH, 1, QUERIES, KEYS)[1, 0]
    )


def test_open_softmax_has_no_factors():
    """Asking an open softmax for query and key is refused, with what to keep instead."""
    with pytest.raises(CaptureError, match=r"in the open \(toy\).*keep heads instead of factors"):
        given(1, HEADS, QUERIES, KEYS).factors()


@cases(data=st.data())
@settings(max_examples=60)
def test_any_block_is_exact(data):
    """Any shape, grouping, mask and block gives that block of the float64 softmax."""
    size = st.integers(1, 9)
    batch, groups, key_heads, queries, keys, channels = (data.draw(size) for _ in range(6))
    query = states(batch, groups * key_heads, queries, channels, seed=1)
    key = states(batch, key_heads, keys, channels, seed=2)
    mask = states(data.draw(st.sampled_from([1, batch])), 1, queries, keys, seed=3) > -2
    mask = mask if data.draw(st.booleans()) else None
    _, seen, _ = see(sdpa, query, key, key, attn_mask=mask, enable_gqa=True)
    row = data.draw(st.integers(0, batch - 1))
    heads, some = (data.draw(span(length)) for length in (groups * key_heads, queries))
    indices = data.draw(st.lists(st.integers(0, keys - 1), min_size=1, unique=True))
    got = seen[0].probs(row, heads, some, torch.tensor(indices)).numpy()
    assert np.abs(got - exact(query, key, mask=mask)[row, heads, some][..., indices]).max() <= 1e-5


def span(length):
    """Draw a slice of an axis that is not empty."""
    ends = st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True).map(sorted)
    return ends.map(lambda pair: slice(*pair))


def test_sizes_differ():
    """No two axes of these tests are equal, so that swapped ones cannot go unnoticed."""
    assert len({BATCH, HEADS, QUERIES, KEYS, CHANNELS}) == 5
