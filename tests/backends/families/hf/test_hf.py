"""Language models of transformers: their texts, and the attention by which they were written."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import attn
from attn.backends.families.hf.hf import HFBackend
from attn.backends.families.hf.options import HFOptions
from attn.errors import AttnError
from attn.schema import Request
from tests.backends.families.hf.conftest import KINDS

PROMPT, NEW = "a red cat", 5


def capture(folder, out, prompt=PROMPT, **options):
    """Return the trace of a text of a few tokens."""
    options = {"generate": NEW, "keep": "factors"} | options
    return attn.capture("hf", prompt, model=folder, out=out, **options).trace


def ids_of(trace, sample=0):
    """Return the ids of prompt and text."""
    return torch.tensor([[token.id for token in trace.tokens(sample=sample)]])


def matrices(folder, ids):
    """Return the oracle, by layer: the eager model's attention to the whole text, in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
    with torch.no_grad():
        output = model(ids, output_attentions=True)
    return [probs[0].numpy() for probs in output.attentions]


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_exact(make_folder, tmp_path, kind):
    """The rows of all steps are float64's matrix of the whole text, of every architecture."""
    settings = {"attention": "eager"} if kind == "gemma2" else None
    trace = capture(make_folder(kind), tmp_path / "out", settings=settings)
    length = trace.steps[-1].span[1]
    assert [step.span for step in trace.steps[-2:]] == [
        (length - 2, length - 1),
        (length - 1, length),
    ]
    for layer, probs in enumerate(matrices(make_folder(kind), ids_of(trace))):
        for step, (start, stop) in enumerate(step.span for step in trace.steps):
            got = trace.probs(layer, step)
            np.testing.assert_allclose(got, probs[:, start:stop, :stop], atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_text_is_that_of_transformers(make_folder, tmp_path, kind):
    """What is written greedily is what `generate` writes."""
    folder = make_folder(kind)
    trace = capture(folder, tmp_path / "out")
    start = trace.steps[0].span[1]
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = model.generate(ids_of(trace)[:, :start], max_new_tokens=NEW, do_sample=False)
    assert torch.equal(ids, ids_of(trace))
