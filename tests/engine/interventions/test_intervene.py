"""A torch model of one's own is changed as models of backends are."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import attn
from attn.errors import AttnError, CaptureError, UsageError
from attn.schema import CutTarget, Intervention
from tests.helpers.toy_attention import KEYS, QUERIES, Attend, count_hooks, exact, states

KEY = CutTarget(positions=(("all", 5),), heads=(1,))


def expected():
    """Return the probabilities of head 1 without key 5, float64."""
    query, key = states(2, 3, QUERIES, 7, seed=1), states(2, 3, KEYS, 7, seed=2)
    probs = exact(query, key)
    probs[:, 1, :, 5] = 0
    return probs / probs.sum(-1, keepdims=True)


def test_tap_records_the_changed_model():
    """Inside of a tap the probabilities are those of the changed softmax, and hooks go again."""
    model = Attend()
    with attn.tap(model, keep="heads") as tapped, attn.intervene(model, Intervention(KEY)):
        model()
    probs = tapped.trace.probs(layer=0, step=0, sample=1)
    np.testing.assert_allclose(probs, expected()[1], atol=1e-3)  # of float16
    assert count_hooks(model) == 0


def test_steps_are_forwards():
    """Only the forwards that are selected are changed; the others keep their bits."""
    model = Attend()
    plain = model()
    late = Intervention(CutTarget(positions=(("all", 5),), steps=(1, 1)), "mask")
    with attn.intervene(model, late) as treated:
        outputs = [model() for _ in range(3)]
    same = [torch.equal(output, plain) for output in outputs]
    assert (same, treated.count) == ([True, False, True], 1)


def test_linear_layers_run_as_if_nobody_looked():
    """A module that is recorded and changed costs nothing in its projections."""
    model, modes = Attention(query_dim=21, heads=3, dim_head=7), []
    mask = Intervention(CutTarget(positions=(("all", 5),)), "mask")
    with attn.tap(model), attn.intervene(model, mask) as treated:
        for part in (model.to_q, model.to_out[0]):
            part.register_forward_pre_hook(
                lambda *_: modes.append(_get_current_dispatch_mode_stack())
            )
        model(torch.ones(2, 13, 21))
    assert (modes, treated.count) == ([[], []], 1)


def test_order_of_the_blocks():
    """A tap that would see the calls before they are changed is refused."""
    model = Attend()
    tapped = attn.tap(model)
    with (
        pytest.raises(CaptureError, match=r"enter attn\.intervene inside"),
        attn.intervene(model, Intervention(KEY)),
        tapped,
    ):
        model()
    assert count_hooks(model) == 0


WRONG = {
    "words cannot be told of a bare model": CutTarget(words=("red",)),
    "no module matches blocks.9": CutTarget(layers=("blocks.9",)),
    "no segment 'sketch'": CutTarget(segments=("sketch",)),
    "no attention of the selected layers": CutTarget(steps=(7, 9)),
}


@pytest.mark.parametrize("message", WRONG)
def test_selection_that_cannot_be_meant(message):
    """What a bare model cannot tell, and what matches nothing, is an error in words."""
    model = Attend()
    with (
        pytest.raises((UsageError, AttnError), match=message),
        attn.intervene(model, Intervention(WRONG[message], "skip")),
    ):
        model()
    assert count_hooks(model) == 0
