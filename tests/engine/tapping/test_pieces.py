"""`attn.tap` on pictures that attend in pieces, on training, and on kernels of other libraries."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, SwinConfig, SwinModel

import attn
from attn.errors import CaptureError
from tests.helpers.models import language_models as tiny

SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3]}


@pytest.fixture(scope="module")
def swin():
    """A Swin with shifted windows, float64's attention of two pictures, and its trace."""
    torch.manual_seed(5)
    model = SwinModel(SwinConfig(**SWIN, window_size=4, attn_implementation="eager")).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), attn.tap(model, keep="heads") as tapped:
        output = model(pixels)
    with torch.no_grad():
        assert torch.equal(model(pixels)[0], output[0])
    exact = []  # what each module of attention returns beside its output, in float64
    for layer in tapped.trace.layers:
        module = model.get_submodule(layer.path)
        module.register_forward_hook(lambda module, args, output: exact.append(output[1].numpy()))
    with torch.no_grad():
        model.double()(pixels.double())
    return tapped.trace, exact


def test_windows_are_queries(swin):
    """Each picture is a sample; its queries are those of its windows, keys are inside of one."""
    trace, exact = swin
    assert trace.manifest.samples == 2
    assert [layer.num_queries for layer in trace.layers] == [64, 64, 16, 16]
    assert trace.layers[0].queries[0].name == "windows" and trace.layers[0].num_keys == 16
    assert trace.layers[0].keys[0].name == "window" and trace.layers[0].kind == "self"
    for layer, probs in enumerate(exact):
        pieces = probs.reshape(2, -1, *probs.shape[1:])
        for sample, windows in enumerate(pieces):
            expected = np.concatenate(list(windows), axis=1)
            np.testing.assert_allclose(trace.probs(layer, 0, sample=sample), expected, atol=6e-4)


def test_windows_are_told(swin):
    """The trace says which modules attend in pieces, and no grid is laid over their order."""
    (warning,) = swin[0].manifest.warnings
    assert warning.startswith("2 modules attend in pieces of each row of the batch (windows of a ")
    assert swin[0].layers[0].grid is None


def test_windows_have_no_factors(swin):
    """Keys differ from window to window, so there are no factors; the message says what to keep."""
    model = SwinModel(SwinConfig(**SWIN, window_size=4, attn_implementation="sdpa")).eval()
    refused = pytest.raises(CaptureError, match=r"in 4 pieces of each row.*keep heads instead")
    with torch.no_grad(), refused, attn.tap(model, keep="factors"):
        model(torch.randn(2, 3, 32, 32))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
@pytest.mark.parametrize("is_reentrant", [False, True])
def test_training_with_checkpoints(is_reentrant):
    """`gradient_checkpointing_enable` gives one step a forward, and the gradients as they were."""
    gradients, taps = [], []
    for is_tapped in (False, True):
        model = tiny.make("llama").train()
        model.gradient_checkpointing_enable({"use_reentrant": is_reentrant})
        tap = attn.tap(model, keep="mass")
        if is_tapped:
            taps.append(tap.__enter__())
        model(tiny.IDS, labels=tiny.IDS).loss.backward()
        if is_tapped:
            tap.__exit__(None, None, None)
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(map(torch.equal, *gradients))
    trace = taps[0].trace
    assert len(trace.steps) == 1 and trace.manifest.status == "complete"
    probs = tiny.matrices("llama", tiny.IDS)[1]
    got = trace.mass(1, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, probs.mean(2), atol=1e-5)


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention", "kernels-community/attn"])
def test_implementations_of_transformers(name):
    """Attention that runs in a library of its own is refused before a forward, by its name."""
    model = tiny.make("llama")
    model.config._attn_implementation = name
    message = f"^cannot capture LlamaForCausalLM: its attention is {name}, .*set_attn_impl"
    with pytest.raises(CaptureError, match=message), attn.tap(model):
        pass
    assert isinstance(model, LlamaForCausalLM)


@torch.library.custom_op("flash_attn::_stand_in_forward", mutates_args=())
def flash(query: torch.Tensor) -> torch.Tensor:
    """Stand in for the operator of flash-attn, which torch sees by its namespace."""
    return query.clone()


class Flash(nn.Module):
    """Attention by flash-attn, called by the model itself."""

    def forward(self, x):
        return flash(x)


def test_operators_of_other_libraries():
    """An operator of flash-attn that a model calls itself is refused by its name."""
    message = r"^flash_attn\._stand_in_forward.* is attention of another library, which hides its"
    with torch.no_grad(), pytest.raises(CaptureError, match=message), attn.tap(Flash()) as tap:
        tap._model(torch.randn(2, 3, 5, 7))
