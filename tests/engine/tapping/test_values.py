"""What `see=` is given, and how much a key moves."""

import numpy as np
import pytest
import torch

import attn
from attn.errors import CaptureError
from tests.helpers.models import language_models as tiny


def outputs(model, path):
    """Return what the output projection of a layer is given, for the next forward."""
    given = []
    projection = model.get_submodule(path)
    projection.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    return given


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_values_are_what_probs_weigh(kernel):
    """The probabilities times the value that `see` is told are what the module puts out."""
    model, told = tiny.make("llama", kernel), []
    given = outputs(model, "model.layers.0.self_attn.o_proj")
    with attn.tap(model, "*.0.self_attn", see=lambda path, attention: told.append(attention)):
        model(tiny.IDS)
    (attention,) = told
    heads = slice(0, tiny.HEADS), slice(None), slice(None)
    probs = torch.stack([attention.probs(row, *heads) for row in range(tiny.BATCH)])
    value = attention.value.repeat_interleave(tiny.HEADS // attention.value.shape[1], 1)
    torch.testing.assert_close((probs @ value).transpose(1, 2).flatten(2), given[0])


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize(("name", "turned"), [("llama", False), ("gpt2", True)])
def test_value_norm(name, turned, kernel):
    """Per head and key, the norm of its value times the part of the projection that it meets."""
    model = tiny.make(name, kernel)
    told = []
    with attn.tap(
        model, value_norm=True, keep="mass", see=lambda path, attention: told.append(attention)
    ) as tapped:
        model(tiny.IDS)
    value = told[1].value.double().numpy()
    value = value.repeat(tiny.HEADS // value.shape[1], 1)
    layer = model.transformer.h[1].attn.c_proj if turned else model.model.layers[1].self_attn.o_proj
    weight = layer.weight.double().numpy()
    weight = weight if turned else weight.T
    parts = weight.reshape(tiny.HEADS, -1, weight.shape[1])
    expected = np.linalg.norm(np.einsum("bhkc,hco->bhko", value, parts), axis=-1)
    got = tapped.trace.measure("value_norm", 1, "all.all").squeeze(["step", "branch"])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_value_norm_of_a_generation(tmp_path):
    """Every step of a growing text has the norms of all keys so far, saved with the rest."""
    model = tiny.make("llama")
    with attn.tap(model, value_norm="o_proj", keep="mass") as tapped:
        tiny.generate(model)
    saved = tapped.trace.save(tmp_path / "run").measure("value_norm", 0, "all.all")
    counts = (~np.isnan(saved)).sum("key").squeeze("branch")[:, 0, 0]
    assert counts.values.tolist() == [tiny.PROMPT + step for step in range(tiny.NEW)]
    np.testing.assert_allclose(saved[1][..., : tiny.PROMPT], saved[0][..., : tiny.PROMPT], 1e-5)


def test_no_output_projection():
    """Where no projection is found, the message says what was looked for."""
    model = tiny.make("llama")
    refused = pytest.raises(CaptureError, match=r"has no output projection called 'gone'; give its")
    with torch.no_grad(), refused, attn.tap(model, value_norm="gone"):
        model(tiny.IDS)
