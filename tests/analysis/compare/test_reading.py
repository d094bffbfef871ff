"""One pass over a trace, against plain float64 sums over its tensors."""

import numpy as np
import pytest

from attn.analysis.compare.reading import SideSelection, read
from attn.analysis.compare.terms import find_terms
from attn.trace.words.prompts import read_prompt
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    CROSS,
    JOINT,
    make_trace,
    manifest,
    plain_maps,
    stored,
    tensors,
)

STEPS = (0, 1, 2)


def read_all(about, files, **options):
    """Read every term of a toy trace."""
    given = {"layers": tuple(layer.index for layer in about.layers), "steps": None} | options
    terms = find_terms(read_prompt(about, "cond"))
    return read(make_trace(about, files), SideSelection("cond", terms=terms, **given))


def words(reading):
    """Return the places of the words of the reading, by word and occurrence."""
    return {
        (term.text, term.number): index
        for index, term in enumerate(reading.terms)
        if term.kind == "word" and term.segment == "clip"
    }


def test_mass():
    """Masses are sums over the tokens of a word, means over steps, by layer and head."""
    about = manifest()
    files = tensors(about)
    result = read_all(about, files)
    assert result.mass.shape == (2, len(result.terms), 2, 1 + 3)
    for word, index in words(result).items():
        for column, layer in enumerate(CROSS):
            own = [stored(files, layer, "mass", step)[..., CLIP_WORDS[word]] for step in STEPS]
            per_head = np.mean(own, 0).sum(-1)
            heads = layer.num_heads
            np.testing.assert_allclose(result.mass[:, index, column, 1 : 1 + heads], per_head)
            np.testing.assert_allclose(result.mass[:, index, column, 0], per_head.mean(1))
            assert np.isnan(result.mass[:, index, column, 1 + heads :]).all()


def test_steps():
    """By step, layers count alike whatever their number of heads."""
    about = manifest()
    files = tensors(about)
    result = read_all(about, files)
    index = words(result)["bobcat", 1]
    for step in STEPS:
        masses = [stored(files, layer, "mass", step)[..., [5, 6]].sum(-1) for layer in CROSS]
        expected = np.mean([mass.mean(1) for mass in masses], 0)
        np.testing.assert_allclose(result.mass_steps[:, index, step], expected)
        shares = [stored(files, layer, "share", step)[:, [5, 6]].sum(-1) for layer in CROSS]
        np.testing.assert_allclose(result.share_steps[:, index, step], np.mean(shares, 0))
        np.testing.assert_allclose(
            result.share[:, index, 1],
            np.mean([stored(files, CROSS[1], "share", s)[:, [5, 6]].sum(-1) for s in STEPS], 0),
        )


@pytest.mark.parametrize("level", ["maps", "means"])
def test_maps(level):
    """Maps are means over steps and layers on the finest grid; sinks have none."""
    about = manifest(level=level)
    files = tensors(about)
    result = read_all(about, files)
    reference = tensors(manifest())
    for word, index in words(result).items():
        for sample in range(2):
            expected = plain_maps(about, reference, CLIP_WORDS[word], sample)
            np.testing.assert_allclose(result.maps[sample, index], expected, rtol=2e-3)
    (sink,) = [index for index, term in enumerate(result.terms) if term.kind == "sink"]
    assert np.isnan(result.maps[:, sink]).all()


def test_daam():
    """With pooling daam a word is the mean of its tokens, not their sum."""
    about = manifest([CROSS[1]])
    files = tensors(about)
    result = read_all(about, files, pooling="daam")
    summed = read_all(about, files)
    indices = words(result)
    for word, tokens in {("cat", 1): 1, ("bobcat", 1): 2}.items():
        np.testing.assert_allclose(
            result.maps[:, indices[word]] * tokens, summed.maps[:, indices[word]], atol=1e-7
        )


def test_selected_steps():
    """Only the asked steps count; of means over all steps there are then no maps."""
    about = manifest()
    files = tensors(about)
    result = read_all(about, files, steps=(1,))
    index = words(result)["cat", 1]
    expected = np.mean([stored(files, layer, "mass", 1)[..., 2].mean(1) for layer in CROSS], 0)
    np.testing.assert_allclose(result.mass_steps[:, index, 0], expected)
    maps = plain_maps(about, files, [2], 0, steps=(1,))
    np.testing.assert_allclose(result.maps[0, index], maps, rtol=1e-6)
    means = manifest(level="means")
    assert read_all(means, tensors(means), steps=(1,)).maps is None


def test_layer_that_did_not_run():
    """A step without a layer counts neither for that layer nor for the maps."""
    about = manifest()
    files = tensors(about)
    for name, tensor in files["attention/step-0001.safetensors"].items():
        if name.startswith("1/"):
            tensor[:] = np.nan
    result = read_all(about, files)
    index = words(result)["cat", 1]
    own = [stored(files, CROSS[0], "mass", step)[..., 2].mean(1) for step in (0, 2)]
    np.testing.assert_allclose(result.mass[:, index, 0, 0], np.mean(own, 0))
    assert np.isfinite(result.maps[:, index]).all()


def test_segments():
    """A word of two encoders is a term in each, and one term where segments are put together."""
    about = manifest(JOINT)
    apart = [term.key for term in find_terms(read_prompt(about, "cond"))]
    assert ("clip", "word", "cat", 1) in apart
    assert ("t5", "word", "cat", 1) in apart
    assert ("t5", "word", "bobcat", 1) not in apart  # cut off
    (both,) = [
        term for term in find_terms(read_prompt(about, "cond"), together=True) if term.text == "cat"
    ]
    assert both.tokens == (("clip", 2), ("t5", 12))


def test_phrases():
    """A phrase has the tokens of its words in a row, and is found again under its number."""
    terms = find_terms(read_prompt(manifest(), "cond"), ["a bobcat", "no such"])
    (phrase,) = [term for term in terms if term.kind == "phrase"]
    assert (phrase.text, phrase.number) == ("a bobcat", 1)
    assert phrase.tokens == (("clip", 4), ("clip", 5), ("clip", 6))


def test_other_branch():
    """The negative prompt has its own words."""
    terms = find_terms(read_prompt(manifest(branches=("cond", "uncond")), "uncond"))
    assert [term.text for term in terms] == ["blurry", "cat", "<s>"]
