"""Every measure against its definition, and never more memory than allowed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attn.backends.testing.oracle import fold_columns
from attn.backends.testing.oracle import measures as definitions
from attn.engine.attention import Attention
from attn.engine.plan import Keep, make_plan
from attn.engine.reduction import measures
from attn.engine.reduction.measures import Scratch, measure
from attn.schema import Layer, Segment, Sequence, Token, block_names
from tests.helpers.toy_attention import attend, exact, given, inputs, states, whole

TEXT, T5 = Segment("clip", "text", 0, 3), Segment("t5", "text", 3, 8)
IMAGE = Segment("image", "image", 8, 13, (1, 5))
PIXELS = Segment("image", "image", 0, 11, (1, 11))
JOINT = Layer(4, "denoiser", "attn", "joint", 3, (TEXT, T5, IMAGE), (TEXT, T5, IMAGE), head_dim=7)
CROSS = Layer(4, "denoiser", "attn", "cross", 3, (PIXELS,), (TEXT, T5, IMAGE), head_dim=7)
SEQUENCE = Sequence(
    (TEXT, T5),
    tuple(
        Token(
            place, "clip" if place < 3 else "t5", 1, "x", place not in {1, 4, 5}, False, 0, 1, None
        )
        for place in range(8)
    ),
)
TOLERANCE = {"map": 1e-5, "headmap": 2**-11, "share": 1e-4, "share_max": 1e-4, "entropy": 1e-4}


def plan_of(layer, level="maps", keys="content"):
    """Plan every block of a layer with all its measures."""
    keep = Keep(level=level, keys=keys, mass="full", blocks=block_names(layer), entropy=True)
    return make_plan([layer], {"cond": SEQUENCE}, keep, samples=1, steps=1, dtype="F32")


def joint_inputs(dtype=torch.float32):
    """Return query, key and value of a sequence of 13."""
    return inputs(dtype, queries=13)


def check(layer, attention, level="maps", keys="content", *, probs=None):
    """Compare all that is kept of batch row 1 with its definition."""
    plan = plan_of(layer, level, keys)
    got = measure(plan.layers[0], attention, 1, Scratch())
    want = definitions(layer, (whole(attention) if probs is None else probs)[1])
    assert set(got) - {f"4/{factor}" for factor in ("query", "key", "lse", "scale", "mask")} == {
        name
        for name in want
        if ("headmap" if level == "heads" else "/map") in name or "map" not in name
    }
    for name in want.keys() & got.keys():
        kind, _, block = name.removeprefix("4/").partition(".")
        if "map" in kind:
            want[name] = fold_columns(want[name], layer, block, plan.kept.columns, SEQUENCE)
        assert got[name].shape == want[name].shape
        tolerance = TOLERANCE.get(kind, 1e-5)
        np.testing.assert_allclose(got[name].double(), want[name], 0, tolerance, err_msg=name)


@pytest.mark.parametrize("level", ["maps", "heads", "factors"])
@pytest.mark.parametrize("keys", ["content", "all"])
def test_joint_measures_are_their_definitions(level, keys):
    """All measures of all blocks of a joint layer follow from its float64 softmax."""
    query, key, value = joint_inputs()
    check(JOINT, attend(query, key, value), level, keys, probs=exact(query, key))


def test_mass_keeps_no_maps():
    """Level `mass` computes nothing of the size of a map."""
    got = measure(plan_of(JOINT, "mass").layers[0], attend(*joint_inputs()), 0, Scratch())
    assert got.keys() == set(plan_of(JOINT, "mass").step_shapes())
    assert max(value.numel() for value in got.values()) == 3 * 13


@pytest.mark.parametrize("layer", [JOINT, CROSS], ids=["joint", "cross"])
@pytest.mark.parametrize("kind", ["float", "causal", "hidden rows"])
def test_masked_measures_are_their_definitions(layer, kind):
    """Masks count in every measure, and rows that see nothing are no rows: NaN in maps."""
    query, key, value = inputs(queries=layer.num_queries)
    mask = states(2, 1, layer.num_queries, 13, seed=6)
    if kind == "hidden rows":
        mask[:, :, [2, 9]] = -torch.inf
    if kind == "causal":
        check(
            layer, attend(query, key, value, is_causal=True), probs=exact(query, key, causal=True)
        )
    else:
        check(layer, attend(query, key, value, attn_mask=mask), probs=exact(query, key, mask=mask))


@pytest.mark.parametrize("level", ["maps", "heads"])
def test_open_softmax_has_the_same_measures(level):
    """Where the model computes its softmax itself, the same measures are made of it."""
    check(JOINT, given(2, 3, 13, 13), level)


@pytest.mark.parametrize("chunk", [1, 17, 60, 300])
@pytest.mark.parametrize("level", ["maps", "heads"])
def test_chunks_change_nothing(monkeypatch, chunk, level):
    """Pieces of any size, down to single rows of single heads, add up to the same."""
    attention = attend(*joint_inputs())
    plan = plan_of(JOINT, level).layers[0]
    at_once = measure(plan, attention, 0, Scratch())
    monkeypatch.setattr(measures, "CHUNK", chunk)
    pieces = measure(plan, attention, 0, Scratch())
    assert pieces.keys() == at_once.keys()
    for name, value in at_once.items():
        assert torch.allclose(pieces[name].float(), value.float(), atol=1e-6), name


@pytest.mark.parametrize("chunk", [30, 100])
def test_no_piece_is_larger_than_a_chunk(monkeypatch, chunk):
    """Memory beside what is kept stays below the limit, whatever the size of the matrix."""
    monkeypatch.setattr(measures, "CHUNK", chunk)
    sizes = []
    take = Scratch.take
    monkeypatch.setattr(
        Scratch,
        "take",
        lambda self, name, device, *shape: (
            sizes.append(np.prod(shape)) or take(self, name, device, *shape)
        ),
    )
    measure(plan_of(JOINT).layers[0], attend(*joint_inputs()), 0, Scratch())
    assert 13 <= max(sizes) <= chunk


@pytest.mark.parametrize("chunk", [2**20, 70])
def test_a_text_is_computed_once(monkeypatch, chunk):
    """The rows of a text's segments share the probabilities of all its rows, piece by piece."""
    monkeypatch.setattr(measures, "CHUNK", chunk)
    computed = []
    log_probs = Attention.log_probs
    monkeypatch.setattr(
        Attention,
        "log_probs",
        lambda *args: computed.append(args[-1].numel()) or log_probs(*args),
    )
    sides = replace(TEXT, stop=6), Segment("written", "text", 6, 13, is_generated=True)
    layer = Layer(4, "denoiser", "attn", "self", 3, sides, sides, head_dim=7)
    keep = Keep(blocks=("all.all",))
    plan = make_plan([layer], {"cond": Sequence(sides, ())}, keep, samples=1, steps=1, dtype="F32")
    query, key, value = joint_inputs()
    got = measure(plan.layers[0], attend(query, key, value), 1, Scratch())
    want = definitions(layer, exact(query, key)[1])
    assert sum(computed) == 3 * 13 * 13
    for name in ("mass.all.all", "mass.clip.all", "entropy.written.all", "total.written"):
        assert np.abs(got[f"4/{name}"].numpy() - want[f"4/{name}"]).max() <= 1e-5


def test_scratch_is_reused():
    """The buffer grows to the largest piece and is then used again."""
    scratch = Scratch()
    device = torch.device("cpu")
    large = scratch.take("probs", device, 5, 7)
    assert scratch.take("probs", device, 3, 11).data_ptr() == large.data_ptr()
    assert scratch.take("probs", device, 3, 11).shape == (3, 11)
    assert scratch.take("logs", device, 3, 11).data_ptr() != large.data_ptr()


@pytest.mark.parametrize("mask", [None, torch.zeros(13, 13)], ids=["by complement", "computed"])
def test_totals_share_out_everything(mask):
    """What a query part gives to all key segments sums to 1, also if one is got by complement."""
    keep = Keep(blocks=("image.text",))
    plan = make_plan([JOINT], {"cond": SEQUENCE}, keep, samples=1, steps=1, dtype="F32")
    query, key, value = joint_inputs()
    got = measure(plan.layers[0], attend(query, key, value, attn_mask=mask), 1, Scratch())
    want = definitions(JOINT, exact(query, key)[1])["4/total.image"]
    assert np.abs(got["4/total.image"].numpy() - want).max() <= 1e-5
    assert torch.allclose(got["4/total.image"].sum(1), torch.ones(3), atol=1e-5)


def test_totals_of_hidden_rows_do_not_count():
    """Rows that see nothing are no rows, so what the others give to all segments sums to 1."""
    keep = Keep(blocks=("image.clip", "image.t5"))
    plan = make_plan([JOINT], {"cond": SEQUENCE}, keep, samples=1, steps=1, dtype="F32")
    query, key, value = joint_inputs()
    mask = torch.zeros(13, 13)
    mask[[9, 11]] = -torch.inf
    attention = attend(query, key, value, attn_mask=mask)
    got = measure(plan.layers[0], attention, 1, Scratch())["4/total.image"]
    assert torch.allclose(got.sum(1), torch.ones(3), atol=1e-5)


def test_totals_of_the_level_mass():
    """Only a segment without masses has a total, exact also where rows see nothing."""
    plan = make_plan([JOINT], {"cond": SEQUENCE}, Keep("mass"), samples=1, steps=1, dtype="F32")
    query, key, value = joint_inputs()
    mask = torch.zeros(13, 13)
    mask[[9, 11]] = -torch.inf
    got = measure(plan.layers[0], attend(query, key, value, attn_mask=mask), 1, Scratch())
    want = definitions(JOINT, exact(query, key, mask=mask)[1])["4/total.image"]
    assert set(got) == {"4/mass.image.text", "4/share.image.text", "4/total.image"}
    assert got["4/total.image"].shape == (3, 1)
    assert np.abs(got["4/total.image"].numpy() - want[:, 2:]).max() <= 1e-5


def test_map_columns_add_up():
    """The columns of a map, rest included, hold all that the block has."""
    attention = attend(*joint_inputs())
    few, every = (
        measure(plan_of(JOINT, keys=keys).layers[0], attention, 0, Scratch())
        for keys in ("content", "all")
    )
    name = "4/map.image.all"
    assert few[name].shape[1] < every[name].shape[1]
    assert torch.allclose(few[name].sum(1), every[name].sum(1), atol=1e-6)


def test_factors_rebuild_the_probs():
    """Query, key, lse, scale and mask are enough for the exact probabilities."""
    query, key, value = joint_inputs()
    mask = states(2, 1, 1, 13, seed=6)
    got = measure(
        plan_of(JOINT, "factors").layers[0], attend(query, key, value, attn_mask=mask), 1, Scratch()
    )
    logits = got["4/scale"] * got["4/query"] @ got["4/key"].mT + got["4/mask"]
    rebuilt = (logits - got["4/lse"].unsqueeze(-1)).exp().double().numpy()
    assert got["4/mask"].shape == (1, 1, 13)
    assert np.abs(rebuilt - exact(query, key, mask=mask)[1]).max() <= 1e-5
