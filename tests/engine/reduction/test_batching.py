"""Layers that are measured at once have the measures that each has by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attn.engine.reduction import batching
from attn.engine.reduction.batching import Batches
from attn.engine.reduction.measures import Scratch, measure
from tests.engine.reduction.test_measures import JOINT, plan_of
from tests.helpers.toy_attention import attend, states

ROW = ("trace", 5)


class Kept(dict):
    """What came of every layer, by name, as the recorder takes it."""

    def take(self, row, layers, name, values):
        assert row == ROW
        for layer, value in zip(layers, values, strict=True):
            assert f"{layer}/{name}" not in self
            self[f"{layer}/{name}"] = value.clone()


def call(seed, **keywords):
    """Return a kernel call of two rows, 3 heads, 13 positions, 7 channels."""
    query, key, value = (states(2, 3, 13, 7, seed=seed + part) for part in range(3))
    return attend(query, key, value, **keywords)


def layers(count, level="maps"):
    """Return plans of layers that are laid out alike."""
    plan = plan_of(JOINT, level).layers[0]
    return [replace(plan, layer=replace(plan.layer, index=index)) for index in range(count)]


@pytest.mark.parametrize("level", ["mass", "maps", "heads"])
@pytest.mark.parametrize("kind", ["plain", "mask", "causal", "grouped"])
def test_batches_are_their_layers(level, kind):
    """All measures of five layers, in batches of three and two, are those of each alone."""
    calls = [call(seed, is_causal=kind == "causal") for seed in range(0, 50, 10)]
    if kind == "mask":
        masks = [states(2, 1, 1, 13, seed=index) for index in range(5)]
        calls = [call(seed * 10, attn_mask=mask) for seed, mask in enumerate(masks)]
    if kind == "grouped":
        calls = [replace(of, key=of.key[:, :1], value=None) for of in calls]
        calls = [replace(of, lse=of.log_sum_exp()) for of in calls]
    kept, plans = Kept(), layers(5, level)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "LIMIT", 3 * 3 * 13 * 13)
        batches = Batches(kept.take, Scratch())
        for plan, attention in zip(plans, calls, strict=True):
            assert batches.add(ROW, plan, attention, 1)
        assert {name.split("/")[0] for name in kept} == {"0", "1", "2"}
        batches.flush()
        batches.flush()
    for plan, attention in zip(plans, calls, strict=True):
        for name, value in measure(plan, attention, 1, Scratch()).items():
            assert kept[name].shape == value.shape
            np.testing.assert_allclose(kept.pop(name), value, 0, 1e-6, err_msg=name)
    assert not kept


def test_models_may_write_over_their_tensors():
    """What a model does to query and key after its kernel ran changes nothing."""
    attention, kept, (plan,) = call(1), Kept(), layers(1)
    expected = measure(plan, attention, 1, Scratch())
    batches = Batches(kept.take, Scratch())
    batches.add(ROW, plan, attention, 1)
    for tensor in attention.factors():
        tensor.zero_()
    batches.flush()
    for name, value in expected.items():
        np.testing.assert_allclose(kept[name], value, 0, 1e-6, err_msg=name)


def test_inference_mode_ends_between_calls():
    """Memory that was got in inference mode is written to outside of it, too, and back."""
    kept, plans = Kept(), layers(3)
    batches = Batches(kept.take, Scratch())
    for index, plan in enumerate(plans):
        with torch.inference_mode(mode=index != 1):
            batches.add(ROW, plan, call(index), 1)
    batches.flush()
    assert {name.split("/")[0] for name in kept} == {"0", "1", "2"}


def test_what_is_not_plain_or_small_is_left():
    """Factors, open probabilities, rows that are none and large calls are measured alone."""
    batches, attention = Batches(Kept().take, Scratch()), call(1)
    (plan,), (factors,) = layers(1), layers(1, "factors")
    shown = torch.ones(2, 1, 13, dtype=torch.bool)
    for of, seen in (
        (factors, attention),
        (plan, replace(attention, valid=shown)),
        (plan, replace(attention, open_probs=torch.ones(2, 3, 13, 13) / 13)),
        (plan, attend(*(states(1, 61, 97, 5, seed=part) for part in range(3)))),
    ):
        assert not batches.add(ROW, of, seen, 0)


def test_rows_do_not_change_each_other():
    """A row's bits are the same whether other rows are captured with it or not."""
    alone, together = Kept(), Kept()
    plans = layers(2)
    for kept, rows in ((alone, [ROW]), (together, [("other", 1), ROW, ("other", 2)])):

        def take(row, *measured, kept=kept):
            if row == ROW:
                kept.take(row, *measured)

        batches = Batches(take, Scratch())
        for index, plan in enumerate(plans):
            for row in rows:
                batches.add(row, plan, call(index), 1)
        batches.flush()
    for name, value in alone.items():
        assert torch.equal(together[name], value), name
