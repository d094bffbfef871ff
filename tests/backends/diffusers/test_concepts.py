"""Words outside the prompt, of every family that reads them, against float64 and bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attn.backends.testing.observe import same_outputs
from attn.engine.concepts.plans import with_concepts
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.schema import CONCEPT_MEASURES, Request
from tests.helpers.toy_attention import count_hooks
from tests.helpers.toy_sessions import shared_session

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]
SHORT = {"t5_tokens": 19}
CROSS = {"sd15": {}, "sdxl": {}, "pixart": SHORT}
JOINT = {"sd35": SHORT, "gated": SHORT, "flux": SHORT}
CONCEPTS = ("star", "blue circle", "sky")
REQUEST = Request("red cat", steps=2, width=80, height=112, guidance=3.0, concepts=CONCEPTS)


def open_request(name, dtype="float32", **changes):
    """Return a session and a completed request."""
    session = shared_session(name, "demo", dtype, **(CROSS | JOINT)[name])
    return session, session.complete(replace(REQUEST, **changes))


def lay_out(session, request, level="factors", layers=()):
    """Return the plan of a capture."""
    sequences = {branch: session.sequence(request, branch) for branch in session.branches(request)}
    keep = Keep(level=level, layers=layers, branches=("cond",))
    dtypes = {"float32": "F32", "bfloat16": "BF16"}
    plan = make_plan(
        *(session.layers(request), sequences, keep),
        samples=1,
        steps=request.steps,
        dtype=dtypes[session.info.dtype],
    )
    return with_concepts(plan, session.concept_modules(request), session.concept_lengths(request))


def run(session, request, plan):
    """Record; return outputs, and the tensors of every step and of the means."""
    steps = []
    outputs, _, _ = record(
        session.towers(),
        [plan],
        1,
        lambda on_call: session.generate([request], on_call),
        lambda trace, step, tensors: steps.append(dict(tensors)),
    )
    return outputs, steps


KINDS = [(dtype, guidance) for dtype in ("float32", "bfloat16") for guidance in (1.0, 3.0)]
ALIKE = [(name, "bfloat16", 3.0) for name in (*CROSS, *JOINT) if name not in ("sdxl", "sd35")]


@pytest.mark.parametrize(
    ("name", "dtype", "guidance"),
    [*((name, *kind) for name in ("sdxl", "sd35") for kind in KINDS), *ALIKE],
)
def test_picture_is_unchanged(name, dtype, guidance):
    """Concepts change no bit of the picture or of what else is kept, and leave no hook behind."""
    session, request = open_request(name, dtype, guidance=guidance, steps=1)
    plan = lay_out(session, request, "maps")
    outputs, steps = run(session, request, plan)
    plain = replace(request, concepts=())
    expected, without = run(session, plain, lay_out(session, plain, "maps"))
    assert same_outputs(outputs, expected)
    assert same_outputs(expected, session.generate([plain], None))
    assert all(
        np.array_equal(step[tensor], of[tensor], equal_nan=True)
        for step, of in zip(steps, without, strict=True)
        for tensor in of
    )
    assert count_hooks(session.model) == 0
    assert session.concept_states == ()
    planned = [plan.step_shapes(), plan.mean_shapes()]
    shapes = [{tensor: value.shape for tensor, value in step.items()} for step in steps]
    assert shapes == [{tensor: shape for tensor, (shape, _) in of.items()} for of in planned]


def softmax(logits, axis):
    """Return a softmax in float64."""
    powers = np.exp(logits - logits.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def alone(session, request, concept):
    """Return the states of a concept as the pipeline encodes it by itself, (position, channel)."""
    with torch.no_grad(), session.conceiving(replace(request, concepts=(concept, "x"))):
        return session.concept_states[0].double()


def keys_of(module, states):
    """Return the keys that a cross-attention makes of states in float64, (head, position, c)."""
    weights = module.to_k.weight.double()
    bias = 0 if module.to_k.bias is None else module.to_k.bias.double()
    keys = (states @ weights.T + bias).detach().numpy()
    return keys.reshape(len(keys), module.heads, -1).transpose(1, 0, 2)


@pytest.mark.parametrize("name", CROSS)
def test_cross_attention_maps(name):
    """Maps are a float64 softmax over concepts of the queries' logits, of long ones their mean."""
    session, request = open_request(name)
    plan = lay_out(session, request)
    steps = run(session, request, plan)[1]
    states = [alone(session, request, concept) for concept in CONCEPTS]
    assert len(states[1]) > len(states[0])
    for entry in plan.layers:
        keys = [keys_of(session.model.get_submodule(entry.layer.path), of) for of in states]
        for step in steps:
            query, scale = (
                step[f"{entry.layer.index}/{key}"][0, 0].astype(np.float64)
                for key in ("query", "scale")
            )
            logits = [np.log(np.exp(scale * query @ key.mT).mean(-1)) for key in keys]
            expected = softmax(np.stack(logits, -1), -1).mean(0)
            kept = step[f"{entry.layer.index}/concepts.image"][0, 0]
            np.testing.assert_allclose(kept, expected, atol=1e-3)
            stored = step[f"{entry.layer.index}/concept_key"][0, 0]
            for concept, key in enumerate(keys):
                np.testing.assert_allclose(stored[:, concept, : key.shape[1]], key, atol=1e-5)
                assert np.isnan(stored[:, concept, key.shape[1] :]).all()
    planned = {tensor: shape for tensor, (shape, _) in plan.step_shapes().items()}
    for step in steps:
        shapes = {tensor: value.shape for tensor, value in step.items() if "/mask" not in tensor}
        assert shapes == planned


def test_concept_that_is_the_first_word_of_the_prompt():
    """CLIP reads a first word alone, so that the concept's logits are those of the word's key."""
    session, request = open_request("sdxl", concepts=("red", "sky"))
    plan = lay_out(session, request)
    step = run(session, request, plan)[1][0]
    states = alone(session, request, "sky")
    for entry in plan.layers:
        sky = keys_of(session.model.get_submodule(entry.layer.path), states)
        query, key, scale = (
            step[f"{entry.layer.index}/{name}"][0, 0].astype(np.float64)
            for name in ("query", "key", "scale")
        )
        logits = [scale * (query @ of.mT)[..., 0] for of in (key[:, 1:2], sky)]
        expected = softmax(np.stack(logits, -1), -1).mean(0)
        kept = step[f"{entry.layer.index}/concepts.image"][0, 0]
        np.testing.assert_allclose(kept, expected, atol=1e-3)


def projected(attention, states, names, norm):
    """Return states in the heads of an attention, float64, (head, position, channel)."""
    made = [getattr(attention, name)(states) for name in names]
    made = [of.unflatten(-1, (attention.heads, -1)) for of in made]
    norms = [getattr(attention, f"{norm}_{kind}", None) for kind in "qk"]
    made[:2] = [turn(of) if turn else of for turn, of in zip(norms, made[:2], strict=True)]
    return [of.transpose(1, 2)[0].numpy() for of in made]


@torch.no_grad()
def test_concept_stream():
    """In joint blocks concepts take the text's layers, and attend to the picture and each other."""
    session, request = open_request("sd35", steps=1, guidance=1.0)
    plan = lay_out(session, request, "maps")
    inputs = []
    handles = [
        block.register_forward_pre_hook(
            lambda module, args, keywords: inputs.append(dict(keywords)), with_kwargs=True
        )
        for block in session.model.transformer_blocks
    ]
    outputs = []
    handles += [
        block.attn.to_out[0].register_forward_pre_hook(
            lambda module, args: outputs.append(args[0].double().numpy()[0])
        )
        for block in session.model.transformer_blocks
    ]
    with session.conceiving(request):
        stream = torch.cat(session.concept_states)[None].double()
    try:
        step = run(session, request, plan)[1][0]
    finally:
        for handle in handles:
            handle.remove()
    own = outputs[::2]  # every block runs twice: for the model, then with concepts
    blocks = session.model.transformer_blocks
    for number, (block, given) in enumerate(zip(blocks, inputs[: len(blocks)], strict=True)):
        block.double()
        hidden, temb = given["hidden_states"].double(), given["temb"].double()
        picture = block.norm1(hidden, emb=temb)[0]
        norm = block.norm1_context
        shifted = norm(stream, temb) if block.context_pre_only else norm(stream, emb=temb)[0]
        rows = projected(block.attn, picture, ("to_q", "to_k", "to_v"), "norm")
        names = ("add_q_proj", "add_k_proj", "add_v_proj")
        concepts = projected(block.attn, shifted, names, "norm_added")
        scale = rows[0].shape[-1] ** -0.5
        expected = softmax(scale * rows[0] @ concepts[1].mT, -1).mean(0)
        kept = step[f"{plan.layers[number].layer.index}/concepts.image"][0, 0]
        np.testing.assert_allclose(kept, expected, atol=2e-3)
        every = [np.concatenate(of, 1) for of in zip(rows[1:], concepts[1:], strict=True)]
        vectors = softmax(scale * concepts[0] @ every[0].mT, -1) @ every[1]
        vectors = vectors.transpose(1, 0, 2).reshape(len(CONCEPTS), -1)
        alike = softmax(own[number] @ vectors.T, -1)
        kept = step[f"{plan.layers[number].layer.index}/concept_outputs.image"][0, 0]
        np.testing.assert_allclose(kept, alike, atol=2e-3)
        stream = block(hidden_states=hidden, encoder_hidden_states=stream, temb=temb)[0]
        block.float()


def test_stream_goes_through_blocks_that_are_not_kept():
    """Maps of one block are the same, whether those before it are kept or not."""
    session, request = open_request("sd35", steps=1, guidance=1.0)
    every = run(session, request, lay_out(session, request, "maps"))[1][0]
    some = run(session, request, lay_out(session, request, "maps", ("1",)))[1][0]
    names = {f"1/{measure}.image" for measure in CONCEPT_MEASURES}
    assert names <= some.keys()
    assert all(np.array_equal(every[tensor], some[tensor]) for tensor in names)
