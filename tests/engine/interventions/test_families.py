"""Every family that ships can be changed, and is not changed by nothing."""

from dataclasses import replace

import numpy as np
import pytest

from attn.backends.testing.observe import same_outputs
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.errors import CaptureError, RequestError
from attn.schema import CutTarget, Intervention, Request
from attn.verbs.ablate.treatments import make_treatment
from tests.helpers.toy_attention import count_hooks
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
REQUEST = Request("a red cat", steps=2, width=80, height=112, guidance=3.0)
SHORT_T5 = {"t5_tokens": 19}
SESSIONS = {
    "fake": {},
    "sdxl": {},
    "sd15": {},
    "scribble": {},
    "sd35": SHORT_T5,
    "gated": SHORT_T5,
    "flux": SHORT_T5,
    "pixart": SHORT_T5,
    "z-image": {},
    "qwen-image": {},
    "sana": {},
    "sd2": {},
    "chroma": SHORT_T5,
    "flux2": {"qwen3_tokens": 29},
    "wan": {"umt5_tokens": 19},
    "mmada": {"gen_length": 14, "block_length": 7},
}
SCENE = "a red square left of a purple triangle on a white background"
CHANGES = {
    "sana": {"width": 96, "height": 160},
    "wan": {"width": 112, "height": 80, "frames": 9},
    "mmada": {"width": None, "height": None},
    "scribble": {"prompt": SCENE, "width": 64, "height": 64},
}
EACH = [pytest.param(name, marks=[pytest.mark.slow] if name != "fake" else []) for name in SESSIONS]
RED = Intervention(CutTarget(words=("red",), queries="all", branch="cond"))


def open_request(name, **changes):
    """Return a session and a completed request."""
    session = shared_session(name, "demo", "float32", **SESSIONS[name])
    return session, session.complete(replace(REQUEST, **CHANGES.get(name, {}) | changes))


def run(session, request, treatment, key="headmap.all.all"):
    """Record every probability of the first step; return outputs and tensors by layer."""
    branches = session.branches(request)
    plan = make_plan(
        session.layers(request),
        {branch: session.sequence(request, branch) for branch in branches},
        Keep(level="heads", keys="all", blocks=("all.all",), branches=branches),
        samples=1,
        steps=request.steps or 1,
        dtype="F32",
        spans=session.spans(request),
    )
    steps = []
    outputs, _, _ = record(
        session.towers(),
        [plan],
        1,
        lambda on_call: session.generate([request], on_call),
        lambda trace, step, tensors: steps.append(dict(tensors)),
        treatment,
    )
    return outputs, steps[0]


@pytest.mark.parametrize("name", EACH)
def test_word_is_cut_from_every_family(name):
    """Hidden keys of a word get nothing, others what a softmax over the rest gives; hooks go."""
    session, request = open_request(name)
    plain, before = run(session, request, make_treatment(session, [request]))
    cut = replace(request, interventions=(RED,))
    treatment = make_treatment(session, [cut])
    output, after = run(session, cut, treatment)
    assert same_outputs(plain, session.generate([request], None))
    assert not same_outputs(plain, output)
    # the first layer that reads the word is reached by the same numbers in both runs
    layer = next(filter(has_text, session.layers(request)))
    was, now = (tensors[f"{layer.index}/headmap.all.all"][0, 0] for tensors in (before, after))
    now_most, was_most = (np.nanmax(of, (0, 1)) for of in (now, was))  # NaN are rows that are none
    hidden = np.flatnonzero((now_most == 0) & (was_most > 0))
    assert hidden.size
    rest = was.astype(np.float64)
    rest[..., hidden] = 0
    rest /= rest.sum(-1, keepdims=True)
    np.testing.assert_allclose(now, rest, atol=3e-3)  # of float16
    assert not any(map(count_hooks, session.towers().values()))


def has_text(layer):
    return any(segment.kind == "text" for segment in layer.keys)


@pytest.mark.parametrize("name", EACH)
def test_empty_intervention_changes_no_bit(name):
    """Steps that no intervention covers, and none at all, leave outputs as they are."""
    session, request = open_request(name)
    plain = session.generate([request], None)
    assert make_treatment(session, [request]) is None
    late = replace(RED, target=replace(RED.target, steps=(1, 1)))
    treatment = make_treatment(session, [replace(request, interventions=(late,))])
    calls = []

    def first_step(call):
        calls.append(call)
        treatment.on_call(replace(call, step=0))

    modules = {key: session.towers()[key[0]].get_submodule(key[1]) for key in treatment.keys}
    with (
        pytest.raises(CaptureError, match="nothing was changed"),
        treatment.applied(modules, session.generate),
    ):
        output = session.generate([request], first_step)
    assert calls
    assert same_outputs(plain, output)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_go_with_an_error(error):
    """An error and Ctrl-C in the middle of a treated run leave no hook and no mode behind."""
    session, request = open_request("fake", interventions=(RED,))
    treatment = make_treatment(session, [request])

    def fail(trace, step, tensors):
        raise error

    plan = make_plan(
        session.layers(request),
        {"cond": session.sequence(request, "cond")},
        Keep(),
        samples=1,
        steps=2,
        dtype="F32",
    )
    with pytest.raises(error):
        record(
            session.towers(),
            [plan],
            1,
            lambda on_call: session.generate([request], on_call),
            fail,
            treatment,
        )
    assert not any(map(count_hooks, session.towers().values()))


REFUSALS = {
    "'ret' is not in 'a red cat'. Did you mean 'red'? It has: a, red, cat": CutTarget(
        words=("ret",)
    ),
    "no layer matches 'up.9'": CutTarget(layers=("up.9",), words=("red",)),
    "these are all keys of layer": CutTarget(roles=("content", "special", "padding", "image")),
    "to mask all keys leaves nothing": CutTarget(),
    "there is no head 70 in layer 0": CutTarget(heads=(70,), words=("red",)),
    "no key matches": CutTarget(segments=("audio",)),
    "no queries 'audio' in these layers": CutTarget(queries="audio", words=("red",)),
    "no guidance row 'both'": CutTarget(branch="both", words=("red",)),
    "17 keys of prompt are cut, but only 0 others": CutTarget(segments=("text",), random=1),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_cut_that_cannot_be_meant(message):
    """What matches nothing or hides everything is refused before anything runs."""
    session, request = open_request("fake")
    wrong = replace(request, interventions=(Intervention(REFUSALS[message]),))
    with pytest.raises(RequestError, match=f"cut: .*{message.partition('?')[0]}"):
        make_treatment(session, [wrong])
