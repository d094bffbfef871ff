"""What the tap of a generation will keep, told before it runs; and errors of what is given."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import attn
from attn.errors import CaptureError, UsageError
from tests.helpers.models import language_models as tiny

LARGE = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}


def kept_bytes(trace):
    """Return the size of all arrays in memory, each once."""
    arrays = [array for tensors in trace._source._files.values() for array in tensors.values()]
    return sum({array.ctypes.data: array.nbytes for array in arrays}.values())


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("keep", ["mass", "maps", "heads"])
def test_plan_is_what_is_kept(keep, every):
    """The plan is the size of what a generation leaves in memory, at each level, thinned or not."""
    model = tiny.make("llama")
    with attn.tap(model, keep=keep, every=every) as tapped:
        planned = tapped.plan(tiny.IDS, tiny.NEW)
        tiny.generate(model)
    assert planned.bytes == kept_bytes(tapped.trace)
    assert (planned.steps, planned.layers) == (len(tapped.trace.steps), 2)


@pytest.mark.parametrize("keep", ["mass", "maps", "heads", "factors"])
@pytest.mark.parametrize("name", ["llama", "one key head"])
def test_plan_of_files(name, keep, tmp_path):
    """What is kept, also of factors, and the files that are written are planned within 5 %."""
    model = tiny.make(name)
    with attn.tap(model, keep=keep) as tapped:
        planned = tapped.plan(tiny.IDS, 13)
        tiny.generate(model, max_new_tokens=13)
    assert planned.bytes == pytest.approx(kept_bytes(tapped.trace), rel=0.05)
    tapped.trace.save(tmp_path)
    written = sum(path.stat().st_size for path in tmp_path.glob("attention/*.safetensors"))
    assert planned.saved == pytest.approx(written, rel=0.05)


def test_plan_of_a_large_model():
    """A model of 8 billion weights on the meta device is planned without its weights."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**LARGE, **HEADS))
    ids = torch.zeros(1, 13, dtype=torch.int64, device="meta")
    steps = np.arange(13, 13 + 512)
    keys = 32 * 32 * 4 * int((steps + 1 + 2).sum())  # mass, entropy, two segments
    planned = attn.tap(model, keep="mass").plan(ids, 512)
    assert abs(planned.bytes - keys) <= 0.01 * keys
    assert str(planned).endswith(
        "MB as files: 1 x 13 + 512 tokens, 32 layers, 512 steps at keep='mass'"
    )
    thinned = attn.tap(model, keep="mass", every=64).plan(ids, 512)
    assert (thinned.steps, thinned.bytes < planned.bytes / 50) == (8, True)


def test_plan_needs_attention():
    """A model that names no attention cannot be planned, and the message says what to do."""
    with pytest.raises(UsageError, match=r"^plan: none of the tapped modules is called attention"):
        attn.tap(nn.Linear(3, 5)).plan(torch.zeros(1, 5, dtype=torch.int64))


class Linear(nn.Module):
    """Attention without a softmax."""

    def forward(self, x):
        return x * x.mean(1, keepdim=True)


class Softmax(nn.Module):
    """Attention of two heads to itself."""

    def forward(self, x):
        heads = x.unflatten(-1, (2, -1)).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return mixed.transpose(1, 2).flatten(2)


def test_module_without_a_kernel_is_named():
    """Of a glob that matches an attending and a linear module, the trace names the latter."""
    model = nn.ModuleDict({"a": Softmax(), "b": Linear()})
    model.forward = lambda x: model["b"](model["a"](x))
    with torch.no_grad(), attn.tap(model, ["a", "b"]) as tapped:
        model(torch.randn(1, 5, 6))
    (warning,) = tapped.trace.manifest.warnings
    assert warning.startswith("1 modules that layers= matches ran no attention kernel") and (
        "b (Linear)" in warning
    )


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (CaptureError, {"tokens": list("abc")}, r"^tokens: 3 are named, but the sequence has 5 "),
        (CaptureError, {"segments": {"prompt": 3}}, r"^segments= names 3 positions, but the model"),
        (CaptureError, {"axes": "bqhk"}, r"has 6 heads, but its softmax would have 5 heads and 6 "),
    ],
)
def test_what_contradicts_the_model(error, options, message):
    """Tokens and segments of another length, and axes against num_heads, are named at the end."""
    model = tiny.make("llama", "eager")
    with torch.no_grad(), pytest.raises(error, match=message), attn.tap(model, **options):
        model(tiny.IDS)


def test_no_model(unchecked):
    """What is no model is refused at once, with what to pass instead."""
    message = r"^tap: expected a torch module, got str 'x'; load the model and pass it, as in"
    with pytest.raises(UsageError, match=message):
        attn.tap("x")


def test_no_call():
    """A block in which the model is not called says so."""
    refused = pytest.raises(CaptureError, match=r"LlamaForCausalLM was not called in the block$")
    with refused, attn.tap(tiny.make("llama")):
        pass
