"""Weights of words in the demo models: the states that A1111's formula gives, and nothing left."""

import numpy as np
import pytest
import torch

from attn.backends.diffusers.texts.emphasis import UNRESTORED, EncodedPart, weigh
from attn.errors import CaptureError, RequestError
from attn.schema import Request
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
PARTS = [EncodedPart(slice(0, 3), slice(0, 5)), EncodedPart(slice(0, 3), slice(5, 7))]


def test_states_are_those_of_the_formula():
    """Each encoder's states are multiplied by the weights, then by a number for their mean."""
    rng = np.random.default_rng(11)
    states = 1 + 0.1 * rng.standard_normal((4, 3, 8))  # two prompts of two pictures, and a padding
    weights = np.array([[1, 1.3, 0.5], [1, 1, 1]])
    result, is_restored = weigh(torch.from_numpy(states), torch.from_numpy(weights), PARTS)
    expected = states.copy()
    for row in (0, 1):
        for channels in (slice(0, 5), slice(5, 7)):
            scaled = states[row, :, channels] * weights[0][:, None]
            expected[row, :, channels] = scaled * states[row, :, channels].mean() / scaled.mean()
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert np.array_equal(result[2:], states[2:])
    assert is_restored


def test_a_mean_of_nothing():
    """Where there is no mean to restore, states are multiplied alone, and that is told."""
    states = torch.tensor([[[1.0, -1.0], [2.0, -2.0], [3.0, -3.0001]]])
    parts = [EncodedPart(slice(0, 3), slice(0, 2))]
    result, is_restored = weigh(states, torch.tensor([[1.0, 1.0, 0.0]]), parts)
    assert not is_restored
    assert torch.equal(result, states * torch.tensor([1.0, 1.0, 0.0])[:, None])


def test_embeddings_of_another_layout():
    """Embeddings with other positions than the text has are refused."""
    with pytest.raises(CaptureError, match=r"the shape \[4, 5, 6\], where weights of words"):
        weigh(torch.ones(4, 5, 6), torch.ones(4, 3), PARTS)


def embeddings(session, request):
    """Return the embeddings that the pipeline of a session draws with."""
    given = []

    def keep(module, args, keywords):
        given.append(keywords["encoder_hidden_states"].clone())

    handle = session.model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        (output,) = session.generate([session.complete(request)], None)
    finally:
        handle.remove()
    return given[0], output


@pytest.mark.parametrize("backend", ["sd15", "sdxl", "sd35"])
def test_what_the_model_reads(backend):
    """The denoiser reads the prompt's tokens with the weighted states of that word, in its row."""
    session = shared_session(backend)
    requested = {"steps": 1, "width": 96, "height": 64, "guidance": 4.0, "negative": "a dog"}
    text = "a red cat"
    plain, _ = embeddings(session, Request(text, **requested))
    request = Request(text, **requested, emphasis=((2, 5, 1.5),))
    result, output = embeddings(session, request)
    tokens = session.sequence(session.complete(request), "cond").tokens
    start = min(token.position for token in tokens)
    red = [token.position - start for token in tokens if token.text == "red"]
    (uncond, cond), (before_uncond, before) = result, plain
    assert torch.equal(uncond, before_uncond)
    assert not torch.equal(cond, before)
    parts = session._prompts.parts(session.text_segments(session.complete(request)))
    for part in parts:
        here = [row for row in red if part.positions.start <= row < part.positions.stop]
        own, old = cond[:, part.channels].double(), before[:, part.channels].double()
        others = [row for row in range(len(own))[part.positions] if row not in here]
        restored = (own[others[0]] / old[others[0]]).nanmedian()
        torch.testing.assert_close(own[here], 1.5 * restored * old[here], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(own[others], restored * old[others], rtol=1e-4, atol=1e-5)
        if UNRESTORED not in output.warnings:
            means = own[part.positions].mean(), old[part.positions].mean()
            torch.testing.assert_close(*means, rtol=1e-3, atol=1e-6)
    assert "encode_prompt" not in vars(session.pipe)


def test_a_batch_changes_nothing():
    """A prompt has the same states beside others as alone, to the last bit."""
    states, weights = torch.rand(3, 3, 8), torch.tensor([[1, 1.5, 1], [1, 1, 1], [2, 1, 0.1]])
    together, _ = weigh(states, weights, PARTS)
    alone = [weigh(states[row : row + 1], weights[row : row + 1], PARTS)[0] for row in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_a_backend_that_weighs_no_words(tmp_path):
    """Weights are refused where they would not be applied."""
    import attn

    with pytest.raises(RequestError, match="this backend applies no weights of words"):
        attn.capture("mmada", "a (red:1.3) cat", prompt_syntax="a1111", out=tmp_path / "run")
