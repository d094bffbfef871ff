"""Language models of transformers: their texts, and the attention by which they were written."""

import json
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import attn
from attn.backends.families.hf.hf import HFBackend
from attn.backends.families.hf.options import HFOptions
from attn.backends.testing import CHECKS
from attn.backends.types import Placement
from attn.errors import AttnError
from attn.schema import Request
from tests.backends.families.hf.conftest import KINDS

PROMPT, NEW = "a red cat", 5
OPEN = ("gemma2", "bloom", "gpt_oss")  # softmax in the open


def capture(folder, out, prompt=PROMPT, **options):
    """Return what was captured of a text of a few tokens."""
    options = {"generate": NEW, "keep": "factors"} | options
    return attn.capture("hf", prompt, model=folder, out=out, **options)


def ids_of(trace, sample=0):
    """Return the ids of prompt and text."""
    return torch.tensor([[token.id for token in trace.tokens(sample=sample)]])


def matrices(folder, ids):
    """Return the oracle, by layer: the eager model's attention to the whole text, in float64."""
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = AutoModelForCausalLM.from_pretrained(folder, **eager).double()
    with torch.no_grad():
        output = model(ids, output_attentions=True)
    matrices = [probs[0].numpy() for probs in output.attentions]
    if model.config.model_type == "gpt_oss":  # the rest of a row goes to the learned sink, in front
        return [np.insert(probs, 0, 1 - probs.sum(-1), -1) for probs in matrices]
    return matrices


def require_exact(trace, folder, sample=0, atol=1e-5):
    """Compare every step with the oracle."""
    ids = ids_of(trace, sample)
    for layer, probs in enumerate(matrices(folder, ids)):
        for step, (start, stop) in enumerate(step.span for step in trace.steps):
            if stop <= ids.shape[1]:
                got = trace.probs(layer, step, sample=sample)
                keys = stop + trace.layers[layer].num_sinks
                np.testing.assert_allclose(got, probs[:, start:stop, :keys], atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_exact(make_folder, tmp_path, kind):
    """The rows of all steps are float64's matrix of the whole text, of every architecture."""
    keep, atol = ("heads", 6e-4) if kind in OPEN else ("factors", 1e-5)
    settings = {"attention": "eager"} if kind == "gemma2" else None
    trace = capture(make_folder(kind), tmp_path / "out", keep=keep, settings=settings).trace
    prompt = trace.steps[0].span[1]
    assert [step.span[1] for step in trace.steps] == list(range(prompt, prompt + NEW + 1))
    require_exact(trace, make_folder(kind), atol=atol)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bloom", "gpt_oss"])
def test_word_is_cut(make_folder, tmp_path, kind):
    """Every step's rows behind a cut word leave it out, grouped, in the open, or with a sink."""
    options = {"keep": "heads"} | ({"settings": {"attention": "eager"}} if kind in OPEN else {})
    plain = capture(make_folder(kind), tmp_path / "plain", **options).trace
    trace = capture(make_folder(kind), tmp_path / "out", cut="red", **options).trace
    red = next(token.position for token in trace.tokens() if token.text.strip() == "red")
    for layer in range(2):
        key = trace.layers[layer].num_sinks + red
        for index, step in enumerate(trace.steps):
            behind = slice(max(0, red + 1 - step.span[0]), None)
            assert not np.asarray(trace.probs(layer, index))[:, behind, key].any()
    before, after = (np.asarray(of.probs(0, 0), np.float64) for of in (plain, trace))
    before[..., key] = 0
    shown = after.sum(-1) > 0
    expected = (before / before.sum(-1, keepdims=True))[shown]
    np.testing.assert_allclose(after[shown], expected, atol=2e-3)  # of float16


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_text_is_that_of_transformers(make_folder, tmp_path, kind):
    """What is written greedily is what `generate` writes."""
    folder = make_folder(kind)
    trace = capture(folder, tmp_path / "out").trace
    start = trace.steps[0].span[1]
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = model.generate(ids_of(trace)[:, :start], max_new_tokens=NEW, do_sample=False)
    assert torch.equal(ids, ids_of(trace))


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_capture_changes_nothing(make_folder, tmp_path, temperature):
    """Tokens and their probabilities are bit-identical with and without capture."""
    options = HFOptions(generate=NEW, temperature=temperature)
    session = HFBackend().open(make_folder(), options)
    request = session.complete(Request(PROMPT, seed=7))
    (plain,) = session.generate([request], None)
    settings = {"temperature": str(temperature)}
    trace = capture(make_folder(), tmp_path / "out", seed=7, settings=settings).trace
    held = json.loads((tmp_path / "out/outputs/history.json").read_text())
    assert held == plain.histories[0]
    assert trace.manifest.tokens["cond"][-NEW:] == plain.tokens[0]


@pytest.mark.parametrize("keep", ["mass", "means", "maps", "heads", "factors"])
def test_bytes_are_those_of_the_plan(make_folder, tmp_path, keep):
    """What is written is what was predicted without weights, at every level, within 5 %."""
    plan = capture(make_folder(), tmp_path / "out", keep=keep, dry_run=True)
    capture(make_folder(), tmp_path / "out", keep=keep)
    shards = (tmp_path / "out" / "attention").glob("*.safetensors")
    got = sum(path.stat().st_size for path in shards)
    assert got == pytest.approx(plan.predicted_bytes, rel=0.05)


def test_means_are_those_of_the_rows(make_folder, tmp_path):
    """Each row of the mean map is that of the step which read its position."""
    trace = capture(make_folder(), tmp_path / "means", keep="means").trace
    got = trace.maps(1, "all.all").squeeze()
    for start, row in enumerate(matrices(make_folder(), ids_of(trace))[1].mean(0)):
        np.testing.assert_allclose(got[start, : start + 1], row[: start + 1], atol=1e-5)


def test_prompts_of_two_lengths(make_folder, tmp_path):
    """Prompts of a batch have no padding: each trace is that of the prompt alone, bit for bit."""
    prompts = [PROMPT, "a cat beside a blue circle"]
    both = capture(make_folder(), tmp_path / "both", prompts, batch=2)
    assert not both.failures
    alone = capture(make_folder(), tmp_path / "alone", prompts[1]).trace
    trace = attn.open(tmp_path / "both" / "0001")
    assert trace.tokens() == alone.tokens()
    assert not attn.verify(tmp_path / "both").damaged
    np.testing.assert_array_equal(trace.mass(1, "all.all"), alone.mass(1, "all.all"))


def test_texts_that_end_at_different_tokens(make_folder, tmp_path):
    """Samples draw different texts; each has tokens of its own, and the trace its longest's."""
    settings = {"temperature": "1.7"}
    trace = capture(make_folder(), tmp_path / "out", images=3, settings=settings).trace
    texts = {tuple(ids_of(trace, sample)[0].tolist()) for sample in range(3)}
    assert len(texts) > 1
    for sample in range(3):
        require_exact(trace, make_folder(), sample)


@pytest.mark.parametrize("keep", ["factors", "means"])
def test_text_ends_early(make_folder, tmp_path, keep):
    """Where the model writes its end, the trace ends: none of it is of what was not written."""
    folder = copytree(make_folder(), tmp_path / "ending")
    first = capture(folder, tmp_path / "long").trace
    prompt = first.steps[0].span[1]
    end = int(ids_of(first)[0, prompt + 1])
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [end]}))
    trace = capture(folder, tmp_path / "short", keep=keep).trace
    assert trace.steps[-1].span[1] == len(trace.tokens()) == prompt + 2
    assert not attn.verify(tmp_path / "short").damaged
    again = capture(folder, tmp_path / "short", keep=keep, resume=True)
    assert [entry.status for entry in again.entries] == ["complete"]
    if keep == "factors":
        require_exact(trace, folder)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(make_folder, check):
    """The kit for backends passes."""
    session = HFBackend().open(make_folder(), HFOptions(generate=3))
    check(session, Request(PROMPT))


REFUSED = {
    "UltravoxForConditionalGeneration": ({"audio_config": {}}, "reads sound beside the text"),
    "VisionEncoderDecoderModel": ({"is_encoder_decoder": True}, "has an encoder"),
    "T5ForConditionalGeneration": ({"is_encoder_decoder": True}, "has an encoder"),
    "TheirsForCausalLM": ({"auto_map": {}}, "which is not run"),
    "MambaForCausalLM": ({}, "keeps a state"),
    "BertModel": ({}, "no causal language model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_architectures(make_folder, tmp_path, name):
    """What is no causal language model of transformers is refused by what it is."""
    changes, reason = REFUSED[name]
    folder = copytree(make_folder(), tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    changed = settings | {"architectures": [name]} | changes
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(AttnError, match=reason):
        HFBackend().open(folder, HFOptions())


WRONG = {
    "size": (replace(Request(PROMPT), width=8), "no size"),
    "guidance": (Request(PROMPT, guidance=3.0), "no guidance"),
    "steps": (Request(PROMPT, steps=4), "--generate"),
    "room": (Request("cat " * 4000), "positions of the model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_requests_it_cannot_do(make_folder, name):
    """What such a model does not have is refused, with what to do."""
    request, reason = WRONG[name]
    with pytest.raises(AttnError, match=reason):
        HFBackend().open(make_folder(), HFOptions(), Placement(weights=False)).complete(request)


@pytest.mark.parametrize("model", [None, "demo"])
def test_there_is_no_demo(model):
    """Random weights are no demo: a model is to be named."""
    with pytest.raises(AttnError, match="no built-in demo model; name one with --model"):
        attn.capture("hf", PROMPT, model=model)


def test_generate_is_for_writers():
    """A backend that does not write token by token refuses to."""
    with pytest.raises(AttnError, match="does not write token by token"):
        attn.capture("sd15", PROMPT, generate=3)


def test_empty_prompts(make_folder, tmp_path):
    """Of an empty prompt the chat template is read, with a warning; without one there is none."""
    folder = make_folder()
    run = capture(folder, tmp_path / "out", prompt="", generate=1)
    assert run.warnings == ("the prompt is empty: the model is asked nothing",)
    with pytest.raises(AttnError, match=r"^the prompt is empty; give a text with --prompt$"):
        capture(folder, tmp_path / "none", prompt="", settings={"chat_template": "none"})
