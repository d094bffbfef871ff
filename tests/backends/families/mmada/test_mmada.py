"""Language models that write by unmasking: what is asked, laid out, written and captured."""

import json

import numpy as np
import pytest
import torch

from attn import demo
from attn.backends import find, load
from attn.backends.loading.hub import DESCRIPTIONS
from attn.backends.testing.observe import recorded, watched
from attn.backends.types import Placement
from attn.engine.plan import Keep, make_plan
from attn.errors import CaptureError, ModelError, RequestError, UsageError
from attn.options import parse_options
from attn.schema import Request
from tests.helpers.toy_sessions import open_session, refuse_misread, remarks, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SHORT = {"gen_length": 14, "block_length": 7, "temperature": 0.8}
PROMPTS = ("a red cat", "two dogs sitting under a table")


@pytest.fixture(scope="module")
def session(demo_cache):
    """The demo model, writing 14 tokens in two blocks."""
    return shared_session("mmada", **SHORT)


def complete(session, prompt=PROMPTS[0], **request):
    """Return a request for four steps."""
    return session.complete(Request(prompt, **({"steps": 4} | request)))


def options(**settings):
    """Return options as they are typed."""
    return parse_options(load(find("mmada")).Options, settings, "backend mmada")


@pytest.mark.parametrize("name", ["mmada", "mmada-dllm", "llada"])
def test_names(name):
    """The family is found under its names."""
    assert find(name).spec.name == "mmada"


def test_defaults():
    """What is not asked for is one token a step, unguided, as S3 and the authors have it."""
    session = shared_session("mmada")
    request = session.complete(Request("a cat"))
    assert (request.steps, request.guidance, request.images) == (128, 1.0, 1)
    assert session.branches(request) == ("cond",)
    recipe = session._recipe(request)
    assert (recipe.length, recipe.block, recipe.steps_per_block) == (128, 32, 32)
    assert (recipe.temperature, recipe.remasking, recipe.stop) == (1.0, "low_confidence", None)


def test_cfg_scale():
    """LLaDA's cfg_scale is guidance minus 1, and the two may not contradict each other."""
    scaled = shared_session("mmada", cfg_scale=1.5, **SHORT)
    assert complete(scaled).guidance == 2.5
    assert scaled.branches(complete(scaled)) == ("cond", "uncond")
    assert complete(scaled, guidance=2.5).guidance == 2.5
    with pytest.raises(RequestError, match=r"guidance 3 and cfg_scale 1\.5 contradict"):
        complete(scaled, guidance=3.0)


def test_layout(session):
    """The sequence is the prompt, then the positions to write; every layer is all to all."""
    request = complete(session)
    sequence = session.sequence(request, "cond")
    prompt, generated = sequence.segments
    assert (prompt.name, generated.name) == ("prompt", "generated")
    assert (prompt.stop, generated.start, generated.length) == (generated.start, prompt.stop, 14)
    assert (prompt.is_generated, generated.is_generated) == (False, True)
    masks = [token for token in sequence.tokens if token.segment == "generated"]
    assert {(token.text, token.special) for token in masks} == {("<|mdm_mask|>", False)}
    layers = session.layers(request)
    assert [layer.path for layer in layers] == [f"model.layers.{i}.self_attn" for i in range(4)]
    assert {(item.kind, item.num_heads, item.head_dim, item.keys) for item in layers} == {
        ("self", 3, 16, sequence.segments)
    }


def test_uncond_reads_a_masked_prompt(session):
    """In the uncond row every position of the prompt is the mask."""
    request = complete(session, guidance=2.0)
    tokens = session.sequence(request, "uncond").tokens
    assert {token.id for token in tokens} == {session.vocabulary.mask}
    assert not any(token.is_content for token in tokens if token.segment == "prompt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gen_length": "10", "block_length": "4"}, "divisible by block_length; got 10 and 4"),
        ({"gen_length": "16"}, "divisible by block_length; got 16 and 32"),
        ({"temperature": "-1"}, "temperature must be 0 or more; got -1"),
        ({"cfg_scale": "-0.5"}, "cfg_scale must be 0 or more; got -0.5"),
        ({"remasking": "high"}, "expected low_confidence|random"),
    ],
)
def test_bad_options(settings, message):
    """Options that make no sense are refused before the model is loaded."""
    with pytest.raises(UsageError) as error:
        options(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"steps": 3},
            r"divisible by the number of blocks, 2 \(gen_length / block_length\); got 3",
        ),
        ({"steps": 0}, "got 0"),
        ({"images": 0}, "must be at least 1; got 0"),
        ({"width": 64}, "it has no size"),
        ({"scheduler": "euler"}, "no scheduler"),
        ({"guidance": float("nan")}, "guidance must be a number"),
        ({"prompt": "cat " * 400}, r"more than the 320 positions of the model; shorten"),
    ],
)
def test_bad_requests(session, asked, message):
    """What the model cannot do is said in numbers."""
    with pytest.raises(RequestError, match=message):
        complete(session, **asked)


def test_negative_prompt(session):
    """A negative prompt is not silently ignored."""
    (warning,) = remarks(session, Request("a", negative="ugly"))
    assert "the negative prompt is not read" in warning


def test_empty_prompt():
    """Without a template an empty prompt is no sequence."""
    bare = shared_session("mmada", chat_template=None, **SHORT)
    with pytest.raises(RequestError, match="the prompt is empty"):
        complete(bare, prompt="")


def test_nothing_asked(session):
    """With a template an empty prompt is what the model can read, but hardly what was meant."""
    for prompt in ("", " \n"):
        told = remarks(session, Request(prompt))
        assert told == ("the prompt is empty: the model is asked nothing",)


def test_offload(session):
    """There is nothing to offload, and that is said."""
    family = load(find("mmada"))
    with pytest.raises(ModelError, match="no part to offload"):
        family.open("demo", family.Options(), Placement(offload="model"))


def test_without_weights(demo_cache):
    """A session that was opened to plan does not generate."""
    family = load(find("mmada"))
    planning = family.open("demo", family.Options(), Placement(weights=False))
    assert planning.info.parameters == shared_session("mmada").info.parameters
    with pytest.raises(CaptureError, match="it can plan, not generate"):
        planning.check()


def test_kernel(session):
    """The fused kernel runs, bidirectional, and without a mask where nothing is padded."""
    seen = set()

    def visit(call, row, layer, attention):
        seen.add((attention.kernel, attention.causal, attention.mask is None))

    watched(session, [complete(session)], visit)
    assert seen == {("aten::_scaled_dot_product_flash_attention_for_cpu", False, True)}


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_same_bits(session, guidance):
    """With capture on the logits of every step and the tokens are the same, bit for bit."""
    requests = [complete(session, prompt, guidance=guidance) for prompt in PROMPTS]
    heard = []
    hook = session.model.lm_head.register_forward_hook(lambda *args: heard.append(args[2].clone()))
    try:
        plain = session.generate(requests, None)
        taped = recorded(session, requests, "heads").outputs
    finally:
        hook.remove()
    assert [item.histories for item in plain] == [item.histories for item in taped]
    half = len(heard) // 2
    assert half == 4
    assert all(map(torch.equal, heard[:half], heard[half:]))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_model_reads_the_labelled_tokens(session, guidance):
    """A batch whose rows are others than the trace says is refused where they differ."""
    refuse_misread(
        session, [complete(session, prompt, guidance=guidance) for prompt in PROMPTS[::-1]]
    )


def test_padding_is_never_read(session):
    """In a batch of prompts of different lengths the padded keys get exactly 0."""
    from attn.engine.hooks import AttentionHooks

    requests = [complete(session, prompt) for prompt in PROMPTS]
    lengths = [session.sequence(request, "cond").segments[0].length for request in requests]
    padding = max(lengths) - lengths[0]
    assert padding > 0
    hidden, whole = [], []

    def see(key, attention):
        everything = slice(0, 3), slice(padding, None)
        hidden.append(attention.probs(0, *everything, slice(0, padding)).abs().max())
        whole.append(attention.probs(0, *everything, slice(padding, None)).sum(-1))

    modules = {
        layer.path: session.model.get_submodule(layer.path) for layer in session.layers(requests[0])
    }
    with AttentionHooks(modules, see):
        session.generate(requests, None)
    assert max(hidden) == 0
    assert torch.stack(whole).sub(1).abs().max() < 1e-5


def test_rows_sum_to_one(session):
    """Every row of every stored map sums to 1, also of the shorter prompt of a batch."""
    requests = [complete(session, prompt) for prompt in PROMPTS]
    run = recorded(session, requests, "maps")
    for (trace, step), tensors in run.tensors.items():
        if step is None:  # the mean has the maps alone
            continue
        length = session.layers(requests[trace])[0].num_keys
        maps = tensors["0/map.all.all"][0, 0].astype(np.float64)
        assert maps.shape == (length, length)
        assert np.abs(maps.sum(1) - 1).max() < length * 2**-11
        assert np.abs(tensors["0/mass.all.all"].sum(-1) - 1).max() < 1e-5
        assert np.abs(tensors["0/total.generated"].sum(-1) - 1).max() < 1e-5


def test_step_measures(session):
    """What the shards say of every step is what history.json says."""
    request = complete(session, guidance=2.0)
    run = recorded(session, [request], "mass")
    history = run.outputs[0].histories[0]
    start = history["prompt_length"]
    assert run.branches == ("cond", "uncond")
    for step in range(4):
        tensors, told = run.tensors[0, step], history["steps"][step]
        tokens, masked = tensors["step/tokens"][:, 0], tensors["step/masked"][:, 0]
        finalised, confidence = tensors["step/finalised"][0, 0], tensors["step/confidence"][0, 0]
        assert tokens[0, start:].tolist() == told["tokens"]
        assert np.flatnonzero(finalised).tolist() == told["finalised"]
        assert confidence[told["finalised"]].tolist() == told["confidence"]
        block = range(told["start"], told["stop"])
        considered = np.flatnonzero(~np.isnan(confidence)).tolist()
        assert considered == [index for index in block if masked[0, index]]
        assert (masked[0, :start].any(), masked[1, :start].all()) == (False, True)
        assert (tokens[1, :start] == session.vocabulary.mask).all()
    assert (masked[0, start:] == finalised[start:]).all()


def test_output(session):
    """The text is the tokens that were written, and the manifest's tokens are those too."""
    request = complete(session, images=2)
    (output,) = session.generate([request], None)
    assert len(output.texts) == len(output.tokens) == len(output.histories) == 2
    assert output.texts[0] != output.texts[1]
    history, tokens = output.histories[1], output.tokens[1]
    assert [token.id for token in tokens] == history["steps"][-1]["tokens"]
    assert [token.position for token in tokens] == list(
        range(history["prompt_length"], history["prompt_length"] + 14)
    )
    assert {history["texts"][str(token.id)] for token in tokens} == {t.text for t in tokens}


def test_noise(session):
    """Noise is the part of the text that is still masked."""
    calls = watched(session, [complete(session)], lambda *_: None)
    assert [call.noise for call in calls] == [1.0, 10 / 14, 0.5, 3 / 14]


def test_chain_of_thought(session):
    """`cot` goes before the prompt, whose words keep their places."""
    thinking = shared_session("mmada", cot=True, **SHORT)
    told = [item.sequence(complete(item), "cond") for item in (thinking, session)]
    assert len(told[0].tokens) > len(told[1].tokens)
    content = [
        [
            (token.text, token.start)
            for token in item.tokens
            if token.segment == "prompt" and token.is_content
        ]
        for item in told
    ]
    assert content[0][0][1] == content[1][0][1] == 0
    assert [start for _, start in content[0]] == [start for _, start in content[1]]


def test_stop(demo_cache):
    """A text that ends early leaves a complete trace with the steps that ran."""
    stopping = open_session("mmada", stop_at_end=True, **(SHORT | {"temperature": 0.0}))
    end = stopping.vocabulary.end

    def prefer(module, args, logits):
        logits[..., end] += 1e4

    with torch.no_grad():
        hook = stopping.model.lm_head.register_forward_hook(prefer)
    run = recorded(stopping, [complete(stopping)], "mass")
    hook.remove()
    assert run.outputs[0].steps == 2
    assert run.outputs[0].texts == ("",)
    assert sorted(step for _, step in run.tensors) == [0, 1]


def test_default_run_is_small(copied):
    """128 steps at 8 layers of 8 heads fit into 80 MB in `maps`, with entropies of all rows."""
    folder = copied("mmada")
    path = folder / "config.json"
    sizes = {"d_model": 128, "n_heads": 8, "n_kv_heads": 8, "n_layers": 8}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    family = load(find("mmada"))
    session = family.open(folder, family.Options(), Placement(weights=False))
    request = session.complete(Request("red cat " * 9))
    plan = make_plan(
        session.layers(request),
        {"cond": session.sequence(request, "cond")},
        Keep(),
        samples=1,
        steps=request.steps,
        dtype="F32",
    )
    assert plan.positions == session.layers(request)[0].num_keys > 150
    assert {"0/entropy.all.all", "0/map.all.all", "step/tokens"} <= plan.step_shapes().keys()
    assert plan.kept.keys == "all"
    assert plan.bytes <= 80e6


@pytest.mark.parametrize("weights", [False, True])
def test_planning_downloads_no_weights(demo_cache, monkeypatch, weights):
    """A dry run asks the hub for what describes a model, not for its gigabytes."""
    requested = []

    def download(name, allow_patterns):
        requested.append((name, allow_patterns))
        return str(demo.checkpoint("mmada"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    family = load(find("mmada"))
    family.open("hub:owner/name", family.Options(), Placement("cpu", weights=weights))
    heavy = ["*.safetensors"] if weights else []
    assert requested == [("owner/name", [*DESCRIPTIONS, *heavy])]
