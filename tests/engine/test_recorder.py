"""Steps, branches and samples end up where they belong, and nothing that was due is missing."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from attn.backends.testing.oracle import exact_probs
from attn.engine.plan import Keep, make_plan
from attn.engine.recorder import Recorder
from attn.engine.run import record
from attn.errors import CaptureError
from attn.schema import Call, Layer, Request, Segment, Sequence, block_names
from tests.helpers.toy_attention import (
    HEADS,
    KEYS,
    QUERIES,
    Attend,
    attend,
    given,
    inputs,
    record_session,
    states,
)
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
PIXELS = Segment("image", "image", 0, QUERIES, (1, QUERIES))
CLIP = Segment("clip", "text", 0, KEYS)
LAYERS = (
    Layer(0, "denoiser", "0", "cross", HEADS, (PIXELS,), (CLIP,), head_dim=7),
    Layer(1, "denoiser", "1", "cross", HEADS, (PIXELS,), (CLIP,), head_dim=7),
)
SEQUENCE = Sequence((CLIP,), ())
ROWS = (("uncond", 0), ("cond", 0))
PROMPT = Request("a red cat on a wooden-chair", steps=2, width=88, height=56)


class Model(nn.Sequential):
    """Two attention modules on a batch of some rows."""

    def forward(self, rows):
        """Run every part."""
        for part in self:
            part(rows)


def run(model, calls, *, layers=LAYERS, samples=1, dtype="F32", **keep):
    """Record calls of a model; return the written tensors by step."""
    keep = Keep(**({"level": "maps"} | keep))
    plan = make_plan(
        layers,
        {"cond": SEQUENCE, "uncond": SEQUENCE},
        keep,
        samples=samples,
        steps=len(calls),
        dtype=dtype,
    )
    written = {}

    def generate(on_call):
        for call in calls:
            on_call(call)
            model(len(call.rows))

    def write(trace, step, tensors):
        written[step.index if step else None] = dict(tensors)

    record({"denoiser": model}, [plan], samples, generate, write)
    return written


def call(step=0, rows=ROWS, skipped=(), tower="denoiser"):
    """Announce a forward."""
    return Call(tower, step, 900.0 - step, 0.9 - step / 10, rows, skipped)


def model(**kwargs):
    """Return a fitting model."""
    return Model(Attend(**kwargs), Attend(**kwargs))


def test_rows_go_to_their_branch():
    """With both branches kept, `cond` comes first though its row runs second."""
    got = run(model(), [call()], branches=("cond", "uncond"))[0]["0/mass.image.text"]
    attention = attend(
        states(2, HEADS, QUERIES, 7, seed=1), *[states(2, HEADS, KEYS, 7, seed=2)] * 2
    )
    for index, row in enumerate((1, 0)):
        assert np.abs(got[index, 0] - exact_probs(attention, row).mean(1)).max() <= 1e-5


def test_samples_keep_their_order():
    """Rows of several samples go to their own places, whatever their order in the batch."""
    rows = (("cond", 1), ("cond", 0))
    straight, turned = (
        run(model(), [call(rows=order)], samples=2)[0]["0/mass.image.text"]
        for order in (rows, rows[::-1])
    )
    assert np.array_equal(straight[:, ::-1], turned)
    assert not np.array_equal(straight, turned)


def test_first_call_of_a_step_is_kept():
    """A second call of the same rows in one step (Heun) is not recorded."""
    first = run(Model(Attend(), Attend()), [call(0), call(1)])
    model = Model(Attend(), Attend())
    twice = run(model, [call(0), call(0, ROWS[::-1]), call(1)])
    assert first.keys() == twice.keys() == {0, 1, None}
    assert np.array_equal(first[0]["0/mass.image.text"], twice[0]["0/mass.image.text"])


def test_branches_may_run_in_separate_calls():
    """Guidance as two batch-1 calls fills both branches of the step."""
    calls = [call(rows=ROWS[:1]), call(rows=ROWS[1:])]
    got = run(model(), calls, branches=("cond", "uncond"))[0]["1/map.image.text"]
    assert np.isfinite(got).all()
    assert got.shape == (2, 1, QUERIES, 1)


def test_skipped_layer_is_nan():
    """A layer that a step leaves out is NaN there, and nowhere else."""

    class Skipping(Model):
        def forward(self, rows):
            self[0](rows)

    got = run(Skipping(Attend(), Attend()), [call(skipped=("1",))])[0]
    assert np.isnan(got["1/mass.image.text"]).all()
    assert np.isfinite(got["0/mass.image.text"]).all()


def test_parents_of_layers_may_be_skipped():
    """Naming a parent skips all its layers, and not those whose names begin alike."""
    paths = ["blocks.1.attn", "blocks.10.attn"]
    layers = [
        Layer(i, "denoiser", path, "cross", 3, (PIXELS,), (CLIP,)) for i, path in enumerate(paths)
    ]
    plan = make_plan(layers, {"cond": SEQUENCE}, Keep(), samples=1, steps=1, dtype="F32")
    recorder = Recorder([plan], 1, lambda *_: None)
    recorder.on_call(call(skipped=("blocks.1",)))
    with pytest.raises(CaptureError, match=r"no attention was seen in layer blocks\.10\.attn"):
        recorder.finish()


@pytest.mark.parametrize("level", ["maps", "heads"])
def test_means_beside_the_steps(level):
    """Where maps are kept step by step, their mean stands beside them: that of what is stored."""
    got = run(model(), [call(step) for step in range(3)], level=level)
    name = "0/map.image.text" if level == "maps" else "0/headmap.image.text"
    steps = np.stack([got[step][name] for step in range(3)]).astype(np.float32)
    expected = (steps if level == "maps" else steps.mean(3)).mean(0)
    assert got[None].keys() == {"0/map.image.text", "1/map.image.text"}
    assert got[None]["0/map.image.text"].dtype == np.float32
    np.testing.assert_allclose(got[None]["0/map.image.text"], expected, rtol=1e-6)


def test_means_are_over_the_steps_that_ran():
    """A tower that rests for some steps (ControlNet) has the mean over the others, not NaN."""
    calls = [call(0), call(1, rows=(("uncond", 0),)), call(2)]
    every = run(model(), calls, branches=("cond", "uncond"))
    means = run(model(), calls, level="means", branches=("cond", "uncond"))[None]
    maps = [every[step]["0/map.image.text"].astype(np.float32) for step in range(3)]
    assert np.isnan(maps[1][0]).all()
    assert np.allclose(means["0/map.image.text"], np.nanmean(maps, axis=0), atol=1e-3)


def test_mean_of_nothing_is_nan():
    """A branch that never ran has no mean."""
    calls = [call(0, rows=(("cond", 0),))]
    got = run(model(), calls, level="means", branches=("cond", "uncond"))[None]["0/map.image.text"]
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[0]).all()


def test_unseen_attention_is_an_error():
    """A layer that runs without a kernel stops the capture, with layer, step and shapes."""
    expected = (
        r"no attention was seen in layer 1 of the denoiser, step 3: expected 3 heads.*found no"
    )
    with pytest.raises(CaptureError, match=expected):
        run(Model(Attend(), nn.Identity()), [call(3)])


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"keys": 17}])
def test_other_shapes_are_named(wrong):
    """A kernel of another shape is not taken for the layer's, and the message shows both."""
    result = "5 heads, 11 queries, 13 keys" if "heads" in wrong else "3 heads, 11 queries, 17 keys"
    with pytest.raises(
        CaptureError, match=f"expected 3 heads, 11 queries, 13 keys; found {result}"
    ):
        run(Model(Attend(), Attend(**wrong)), [call()])


def test_adapters_beside_a_layer_are_ignored():
    """A second kernel of another shape in the same module (IP-Adapter) leaves the layer's alone."""

    class Both(nn.Module):
        def forward(self, rows):
            Attend(keys=17).forward(rows)
            return Attend().forward(rows)

    got = run(Model(Attend(), Both()), [call()])[0]
    assert np.array_equal(got["0/mass.image.text"], got["1/mass.image.text"])


def test_two_kernels_of_one_shape_are_an_error():
    """If two kernels could be the layer's, neither is guessed."""
    with pytest.raises(
        CaptureError, match="layer 1, step 0: two attention kernels of the same shape"
    ):
        run(Model(Attend(), Attend(times=2)), [call()])


def test_unannounced_second_run_is_an_error():
    """A model that runs twice for one announcement is noticed."""

    class Twice(Model):
        def forward(self, rows):
            super().forward(rows)
            super().forward(rows)

    with pytest.raises(CaptureError, match="two attention kernels of the same shape"):
        run(Twice(Attend(), Attend()), [call()])


def test_unannounced_rows_are_an_error():
    """A batch of another size than announced is not sorted into branches by guess."""
    plan = make_plan(LAYERS, {"cond": SEQUENCE}, Keep(), samples=1, steps=1, dtype="F32")
    recorder = Recorder([plan], 1, lambda *_: None)
    recorder.on_call(call(rows=(*ROWS, ("skip", 0))))
    with pytest.raises(CaptureError, match="the batch has 2 rows, the backend announced 3"):
        recorder.see(("denoiser", "0"), attend(*inputs()))


def test_layers_that_did_not_run_are_an_error():
    """A layer that was due and never ran is noticed when the next call is announced."""

    class Lazy(Model):
        def forward(self, rows):
            self[0](rows)

    with pytest.raises(CaptureError, match="no attention was seen in layer 1"):
        run(Lazy(Attend(), Attend()), [call(0), call(1)])


def test_backward_steps_are_an_error():
    """Steps are announced in generation order."""
    with pytest.raises(CaptureError, match="announced step 0 after 1"):
        run(model(), [call(1), call(0)])


def test_generation_without_forward_is_an_error():
    """A capture that captured nothing is an error, never an empty trace."""
    with pytest.raises(CaptureError, match="ended without one forward of a captured tower"):
        run(model(), [])


def test_generation_of_other_branches_is_an_error():
    """The same where every row is announced as something that is not kept."""
    with pytest.raises(CaptureError, match="ended without one forward of a captured tower"):
        run(model(), [call(rows=(("positive", 0),))])


def test_other_heads_are_not_called_compiled():
    """Where a kernel of other sizes ran, the layout is at fault and not the model."""
    with pytest.raises(CaptureError, match=r"found 3 heads.*layers\(\) lays it out") as error:
        run(model(), [call()], layers=tuple(replace(layer, num_heads=7) for layer in LAYERS))
    assert "compiled" not in str(error.value)


def test_unknown_layer_is_an_error():
    """A backend that declares a module that is not there is told so."""
    with pytest.raises(
        CaptureError, match="declares layer 1 of tower denoiser, which does not exist"
    ):
        run(Model(Attend()), [call()])


@pytest.mark.parametrize(
    ("dtype", "advice"), [("F32", "weights are broken"), ("F16", "try --dtype float32")]
)
def test_overflow_is_an_error(dtype, advice):
    """Attention that is not a number is reported with its layer and what can help, not stored."""

    class Broken(Attend):
        def forward(self, rows):
            key = torch.full((rows, HEADS, KEYS, 7), torch.nan)
            query = states(rows, HEADS, QUERIES, 7)
            return nn.functional.scaled_dot_product_attention(query, key, key)

    with pytest.raises(
        CaptureError, match=rf"layer 1 is not a number in step 0 \({dtype}\).*{advice}"
    ):
        run(Model(Attend(), Broken()), [call()], dtype=dtype)


def test_open_softmax_cannot_be_kept_as_factors():
    """Level `factors` of an open softmax is refused, not a traceback."""
    plan = make_plan(
        LAYERS, {"cond": SEQUENCE}, Keep(level="factors"), samples=1, steps=1, dtype="F32"
    )
    recorder = Recorder([plan], 1, lambda *_: None)
    recorder.on_call(call())
    with pytest.raises(CaptureError, match="keep heads instead of factors"):
        recorder.see(("denoiser", "0"), given(1, 2 * HEADS, QUERIES, KEYS))


def test_legacy_layout_is_unfolded():
    """(batch · head, query, key) is taken apart by the announced batch."""
    plan = make_plan(LAYERS[:1], {"cond": SEQUENCE}, Keep(), samples=1, steps=1, dtype="F32")
    written = {}
    recorder = Recorder([plan], 1, lambda trace, step, tensors: written.update(tensors))
    attention = given(1, 2 * HEADS, QUERIES, KEYS)
    recorder.on_call(call())
    recorder.see(("denoiser", "0"), attention)
    recorder.finish()
    mean = attention.open_probs[0, HEADS:].mean(1).numpy()
    assert np.allclose(written["0/mass.image.text"][0, 0], mean, atol=1e-6)


@pytest.mark.parametrize("wide", [torch.float32, torch.bfloat16])
def test_factors_are_never_rounded(wide):
    """Attention that runs wider than the model's weights is kept as wide as it ran."""
    plan = make_plan(
        LAYERS[:1], {"cond": SEQUENCE}, Keep(level="factors"), samples=1, steps=1, dtype="BF16"
    )
    written = {}
    recorder = Recorder([plan], 1, lambda trace, step, tensors: written.update(tensors))
    query, key, value = inputs(wide)
    recorder.on_call(call())
    recorder.see(("denoiser", "0"), attend(query, key, value))
    query += 1  # what was kept is a copy
    recorder.finish()
    assert (
        written["0/query"].dtype
        == {torch.float32: np.float32, torch.bfloat16: ml_dtypes.bfloat16}[wide]
    )
    assert np.array_equal(
        written["0/query"][0, 0].astype(np.float64), inputs(wide)[0][1].double().numpy()
    )


def test_rows_without_a_mask_have_zeros():
    """Where one branch is masked and the other is not, the other's mask is 0, not NaN."""
    plan = make_plan(
        LAYERS[:1],
        {"cond": SEQUENCE, "uncond": SEQUENCE},
        Keep(level="factors", branches=("cond", "uncond")),
        samples=1,
        steps=1,
        dtype="F32",
    )
    written = {}
    recorder = Recorder([plan], 1, lambda trace, step, tensors: written.update(tensors))
    query, key, value = (tensor[:1] for tensor in inputs())
    for row, mask in zip(ROWS, (states(1, 1, 1, KEYS), None), strict=True):
        recorder.on_call(call(rows=(row,)))
        recorder.see(("denoiser", "0"), attend(query, key, value, attn_mask=mask))
    recorder.finish()
    assert written["0/mask"].shape == (2, 1, 1, 1, KEYS)
    assert not written["0/mask"][0].any()
    assert written["0/mask"][1].all()


def test_each_request_of_a_batch_is_its_own_trace():
    """Two requests in one batch write two traces, each with the columns of its own prompt."""
    session = shared_session("fake")
    prompts = ("a cat", "two dogs, on a wooden-chair!")
    requests = [session.complete(Request(prompt, images=2)) for prompt in prompts]
    plans, tensors, _ = record_session(session, requests)
    for trace, plan in enumerate(plans):
        columns = 1 + sum(
            token.is_content for token in session.sequence(requests[trace], "cond").tokens
        )
        assert tensors[trace, 0]["2/map.image.text"].shape == (1, 2, 77, columns)
        assert len(plan.kept.columns) == columns


def test_every_block_of_the_fake_model_is_kept():
    """All blocks of all kinds of layers, in both towers, come out of one run."""
    session = shared_session("fake")
    request = session.complete(PROMPT)
    blocks = {layer.index: set(block_names(layer)) for layer in session.layers(request)}
    requested = tuple(sorted(set().union(*blocks.values())))
    _, tensors, _ = record_session(session, [request], Keep(blocks=requested))
    for index, names in blocks.items():
        assert {f"{index}/map.{name}" for name in names} <= tensors[0, 1].keys()
