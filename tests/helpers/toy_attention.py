"""Small attention calls of irregular sizes, seen by the engine, and what they should give."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attn.backends.testing.oracle import as_float64, softmax
from attn.engine.attention import Attention
from attn.engine.kernels import KernelMode
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record

BATCH, HEADS, QUERIES, KEYS, CHANNELS = 2, 3, 11, 13, 7
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-4, torch.float16: 1e-4}
GAIN = 1.5  # logits have a standard deviation of about 2


def states(*shape, dtype=torch.float32, seed=0):
    """Return random numbers of a few units."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * GAIN).to(dtype)


def inputs(dtype=torch.float32, *, heads=HEADS, key_heads=None, queries=QUERIES, keys=KEYS):
    """Return query, key and value."""
    key_heads = key_heads or heads
    return (
        states(BATCH, heads, queries, CHANNELS, dtype=dtype, seed=1),
        states(BATCH, key_heads, keys, CHANNELS, dtype=dtype, seed=2),
        states(BATCH, key_heads, keys, CHANNELS, dtype=dtype, seed=3),
    )


def see(function, *args, **kwargs):
    """Run a function under the kernel mode; return what it gave, what was seen, and the mode."""
    seen = []
    mode = KernelMode(seen.append)
    with mode:
        result = function(*args, **kwargs)
    return result, seen, mode


def attend(query, key, value, **kwargs):
    """Return the one attention that a call of scaled_dot_product_attention makes."""
    _, seen, _ = see(sdpa, query, key, value, **kwargs)
    (attention,) = seen
    return attention


def whole(attention):
    """Return all probabilities, (batch, head, query, key) float64."""
    everything = slice(0, attention.shape[1]), slice(None), slice(None)
    return np.stack(
        [as_float64(attention.probs(row, *everything)) for row in range(attention.shape[0])]
    )


def exact(query, key, *, mask=None, scale=None, causal=False):
    """Return the softmax in float64, from the tensors that the model was given."""
    query, key = as_float64(query), as_float64(key)
    key = np.repeat(key, query.shape[1] // key.shape[1], axis=1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * query @ key.swapaxes(-1, -2)
    if mask is not None:
        logits += np.where(mask, 0.0, -np.inf) if mask.dtype == torch.bool else as_float64(mask)
    if causal:
        logits[..., np.triu(np.ones(logits.shape[-2:], bool), 1)] = -np.inf
    return softmax(logits)


def given(*shape, seed=0):
    """Return an attention whose softmax the model computed in the open."""
    return Attention(
        None, None, None, None, 1.0, False, states(*shape, seed=seed).softmax(-1), "toy"
    )


class Attend(nn.Module):
    """One kernel on random query and key; `heads` and `keys` give it another shape."""

    def __init__(self, heads=HEADS, keys=KEYS, times=1):
        super().__init__()
        self.heads, self.keys, self.times = heads, keys, times

    def forward(self, rows=BATCH):
        """Attend, in a batch of some rows."""
        key = states(rows, self.heads, self.keys, CHANNELS, seed=2)
        for _ in range(self.times):
            query = sdpa(states(rows, self.heads, QUERIES, CHANNELS, seed=1), key, key)
        return query


def count_hooks(model):
    """Return how many hooks all modules have."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def record_session(session, requests, keep=None, write=None):
    """Record a session; return the plans, the tensors by (trace, step), and what `record` gives."""
    keep = keep or Keep()
    first = requests[0]
    plans = [
        make_plan(
            session.layers(first),
            {branch: session.sequence(request, branch) for branch in session.branches(first)},
            keep,
            samples=first.images,
            steps=first.steps,
            dtype={"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[session.info.dtype],
        )
        for request in requests
    ]
    tensors = {}

    def keep_it(trace, step, arrays):
        tensors[trace, step.index if step else None] = dict(arrays)

    result = record(
        session.towers(),
        plans,
        first.images,
        lambda on_call: session.generate(requests, on_call),
        write or keep_it,
    )
    return plans, tensors, result
