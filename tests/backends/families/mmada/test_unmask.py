"""Text is written block by block, exactly as many positions per step as planned, once each."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attn.backends.families.mmada import unmask
from attn.backends.families.mmada.unmask import (
    UnmaskSettings,
    Writing,
    choose,
    most_confident,
    transfer_counts,
)

VOCABULARY, MASK, STOP = 31, 29, 7
PROMPTS = ((3, 5, 11), (13, 2, 17, 19, 23))


def recipe(**changes):
    """Return a recipe of three blocks of five."""
    plain = {"length": 15, "block": 5, "steps": 6, "temperature": 0.7, "mask": MASK}
    return UnmaskSettings(**(plain | {"remasking": "low_confidence"} | changes))


def write(recipe, prompts=PROMPTS, seed=0, predict=None):
    """Write with logits that depend on everything the model would read."""
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    writing = Writing(prompts, generators, recipe, torch.device("cpu"))
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(5))

    def read(writing, step, columns):
        mixed = table[writing.ids].mean(1, keepdim=True)
        return mixed + table[[column % VOCABULARY for column in columns]] * 2

    writing.run(predict or read)
    return writing


@given(masked=st.integers(0, 97), steps=st.integers(1, 97))
def test_counts(masked, steps):
    """All masks of a block are replaced in its steps, as evenly as can be, larger counts first."""
    counts = transfer_counts(masked, steps)
    assert (sum(counts), len(counts)) == (masked, steps)
    assert max(counts) - min(counts) <= 1
    assert list(counts) == sorted(counts, reverse=True)


@given(
    blocks=st.integers(1, 4),
    block=st.integers(1, 7),
    steps=st.integers(1, 9),
    remasking=st.sampled_from(["low_confidence", "random"]),
    temperature=st.sampled_from([0.0, 1.0]),
)
def test_unmasking(blocks, block, steps, remasking, temperature):
    """Every step replaces its planned count in its own block; what is written stays as it is."""
    plan = recipe(
        length=blocks * block,
        block=block,
        steps=blocks * steps,
        remasking=remasking,
        temperature=temperature,
    )
    writing = write(plan)
    assert len(writing.records) == plan.steps
    for step, record in enumerate(writing.records):
        count = transfer_counts(block, steps)[step % steps]
        first = writing.start + record.block * block
        assert record.block == step // steps
        assert (record.finalised.sum(1) == count).all()
        assert not record.finalised[:, :first].any()
        assert not record.finalised[:, first + block :].any()
        assert not (record.finalised & ~record.masked).any()
        later = writing.ids.numpy()
        assert (record.tokens == later)[record.finalised | ~record.masked].all()
    assert not writing.masked.any()
    assert not (writing.ids[:, writing.start :] == MASK).any()


@pytest.mark.parametrize("step", [0, 2, 4])
def test_confident_first(step):
    """The most confident masks of the block are the ones that are replaced."""
    record = write(recipe()).records[step]
    for sample in range(len(PROMPTS)):
        known = ~np.isnan(record.confidence[sample])
        kept, left = record.finalised[sample], known & ~record.finalised[sample]
        assert (known.sum(), kept.sum()) == (5, 3)
        assert record.confidence[sample, kept].min() >= record.confidence[sample, left].max()


def test_equal_confidence():
    """Of equally confident positions the first is taken, on every machine."""
    assert most_confident(torch.tensor([0.1, 0.4, 0.4, 0.4]), 2).tolist() == [1, 2]


def test_greedy_is_deterministic():
    """At temperature 0 the seed plays no role; above it the seed decides."""
    greedy = [write(recipe(temperature=0.0), seed=seed).ids for seed in (0, 41)]
    assert torch.equal(*greedy)
    same = [write(recipe(temperature=2.0), seed=1).ids for _ in range(2)]
    assert torch.equal(*same)
    drawn = [write(recipe(temperature=2.0), seed=seed).ids for seed in (0, 41)]
    assert not torch.equal(*drawn)


def test_choice_is_exact():
    """Tokens are argmax(logit + T · Gumbel noise) in float64, confidences have no temperature."""
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(2)).bfloat16()
    tokens, sure = choose(logits, recipe(temperature=1.5), torch.Generator().manual_seed(8))
    noise = torch.rand(3, VOCABULARY, dtype=torch.float64, generator=torch.manual_seed(8)).numpy()
    exact = logits.double().numpy()
    noisy = exact - 1.5 * np.log(-np.log(noise))
    noisy[:, MASK] = -np.inf
    probs = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    assert tokens.tolist() == noisy.argmax(1).tolist()
    assert np.abs(sure.numpy() - probs[range(3), tokens]).max() < 1e-15


def test_noise_follows_the_temperature():
    """Tokens are drawn from softmax(logits / temperature)."""
    logits = torch.tensor([[2.0, 0.0, -1.0]]).repeat(20011, 1)
    tokens, _ = choose(logits, recipe(temperature=2.0, mask=2), torch.Generator().manual_seed(0))
    expected = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert np.abs(np.bincount(tokens, minlength=2) / 20011 - expected).max() < 0.01


def test_mask_is_never_written():
    """A model that finds the mask likeliest gets the next token, or nothing would be replaced."""
    logits = torch.zeros(1, VOCABULARY)
    logits[0, MASK], logits[0, 4] = 9.0, 1.0
    tokens, sure = choose(logits, recipe(temperature=0.0), torch.Generator())
    assert tokens.tolist() == [4]
    assert sure < 0.01


def test_only_masks_of_the_block_are_looked_at(monkeypatch):
    """Noise in float64 is drawn for the masks of the current block, never for the whole text."""
    seen = []

    def look(logits, *rest):
        seen.append(len(logits))
        return choose(logits, *rest)

    monkeypatch.setattr(unmask, "choose", look)
    write(recipe(steps=6))
    assert seen == [count for count in (5, 2) * 3 for _ in PROMPTS]


def test_left_padding():
    """Prompts end at one column, so what is written begins at one column."""
    writing = write(recipe())
    assert (writing.start, writing.padding) == (5, (2, 0))
    assert writing.ids[:, :5].tolist() == [[MASK, MASK, 3, 5, 11], [13, 2, 17, 19, 23]]
    assert not writing.records[0].masked[:, :5].any()


def test_a_batch_draws_its_own_noise():
    """Another sample in the batch does not change what a sample draws."""
    flat = lambda writing, step, columns: torch.zeros(len(writing.ids), len(columns), VOCABULARY)  # noqa: E731
    together = write(recipe(temperature=1.0), predict=flat).ids[0, 5:]
    alone = write(recipe(temperature=1.0), prompts=PROMPTS[:1], predict=flat).ids[0, 3:]
    assert torch.equal(together, alone)


@pytest.mark.parametrize(("stop", "steps"), [(STOP, 2), (None, 6)])
def test_stop(stop, steps):
    """With a stop token the rest of the text is left, once a block ends with it in every sample."""

    def predict(writing, step, columns):
        logits = torch.zeros(len(writing.ids), len(columns), VOCABULARY)
        logits[..., STOP] = 3.0
        return logits

    writing = write(recipe(temperature=0.0, stop=stop), predict=predict)
    assert len(writing.records) == steps
    assert int(writing.masked.sum()) == (20 if stop else 0)
