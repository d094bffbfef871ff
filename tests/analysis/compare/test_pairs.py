"""What two traces have in common, and what differs between them."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.words.maps.dominance import dominance
from attn.errors import AnalysisError
from attn.schema import find_words
from tests.helpers.toy_traces import CROSS, JOINT, cross_layer, make_trace, manifest, tensors


def trace(about=None, seed=0, **changes):
    """Return a toy trace whose request differs."""
    about = about or manifest()
    about = replace(about, request=replace(about.request, **changes))
    return make_trace(about, tensors(about, seed))


def compare(base, variant, **options):
    """Compare two traces."""
    return compare_pair(base, variant, PairOptions(**options), {})


def test_the_same_trace():
    """A trace compared with itself differs in nothing."""
    pair = compare(trace(), trace())
    np.testing.assert_array_equal(pair.base.mass, pair.variant.mass)
    words = [index for index, term in enumerate(pair.terms) if term.kind == "word"]
    assert (pair.alike[:, words] == [1, 0, 1, 0, 0, 0]).all()
    assert (pair.changed["clip"] == 0).all()
    assert pair.agreement.notes == ()
    assert pair.agreement.noise == ()


def test_phrases_that_were_cut_off():
    """A segment that holds only a part of a phrase says nothing of it, and that is told."""
    pair = compare(trace(manifest(JOINT)), trace(manifest(JOINT), seed=1), phrases=("a bobcat",))
    phrases = [term for term in pair.terms if term.kind == "phrase"]
    assert [(term.segment, len(term.tokens)) for term in phrases] == [("clip", 3)]
    left_out = "phrases that segment 't5' does not hold whole are left out: a bobcat"
    assert pair.agreement.notes == (left_out,)


@pytest.mark.parametrize("measure", ["lift", "mass"])
@pytest.mark.parametrize("only", [None, ("a", "cat")])
def test_dominance(measure, only):
    """Words that compete have the part of the places that they dominate, others have none."""
    pair = compare(trace(), trace(seed=1), dominance=measure, words=only)
    words = [index for index, term in enumerate(pair.terms) if term.kind == "word"]
    named = only or ("cat", "bobcat")
    among = [index for index in words if pair.terms[index].text.lower() in named]
    for side, reading in enumerate((pair.base, pair.variant)):
        winner = dominance(reading.maps, among, measure)
        expected = [(winner == index).mean((1, 2)) for index in among]
        np.testing.assert_allclose(pair.dominant[side][:, among], np.transpose(expected))
    rest = [index for index in range(len(pair.terms)) if index not in among]
    assert np.isnan(pair.dominant[:, :, rest]).all()


def test_one_pass_for_several_variants(monkeypatch):
    """The base is read once, however many variants it is compared with."""
    from attn.analysis.compare import pairs

    read, seen = pairs.read, []
    monkeypatch.setattr(pairs, "read", lambda *given: seen.append(given[0]) or read(*given))
    base, known = trace(), {}
    for seed in (1, 2):
        compare_pair(base, trace(seed=seed), PairOptions(), known)
    assert seen.count(base) == 1
    assert len(seen) == 3


def test_other_words():
    """Of different prompts the words that both have are compared."""
    about = manifest()
    other = replace(about, words=(*find_words("A dog, a bobcat"),))
    pair = compare(trace(), trace(other))
    words = [term.text for term in pair.terms if term.kind == "word"]
    assert words == ["A", "a", "bobcat"]


def test_no_common_word():
    """Without a common word there is nothing to compare."""
    about = manifest()
    other = replace(about, words=find_words("9 8, 7 6"))
    message = "the prompts share no word: 'A cat, a bobcat' and '9 8, 7 6'"
    with pytest.raises(AnalysisError, match=message):
        compare(trace(), trace(other, prompt="9 8, 7 6"))


def test_other_layers():
    """Other layers are compared as a whole; that is said."""
    pair = compare(trace(), trace(manifest(JOINT)))
    assert not pair.agreement.by_layer
    assert pair.agreement.together
    assert pair.agreement.notes == (
        "the layers differ (2 and 2, first 1 blocks.1.attn2 of 2 heads and 0 blocks.0.attn of 2 "
        "heads): compared over all layers only, not layer by layer",
        "the kinds of attention differ (cross and joint): joint attention is shared out among text "
        "and picture, cross attention among text alone, so mass differs for that reason too; share "
        "is of text alone in both",
        "the text segments differ (clip and clip, t5): compared as one, called 'text'; a word "
        "read by two encoders has the sum of both",
    )


def test_fewer_layers():
    """If one trace has some of the other's layers, those are compared."""
    pair = compare(trace(), trace(manifest(CROSS[1:])))
    assert [layer.index for layer in pair.layers] == [3]
    assert pair.agreement.by_layer
    assert pair.agreement.notes == ("only layers that both traces have are compared: 1 of 2 and 1",)


def test_other_grids():
    """Maps of another grid are resampled by area."""
    layers = cross_layer(1, (3, 5), 2), cross_layer(3, (3, 5), 3)
    pair = compare(trace(), trace(manifest(layers)))
    assert pair.variant.maps.shape == pair.base.maps.shape
    assert "the grids differ (6x10 and 3x5): the variant's maps are resampled by area" in (
        pair.agreement.notes
    )


def test_other_steps():
    """Other numbers of steps leave the means over steps."""
    pair = compare(trace(), trace(manifest(steps=2)))
    assert not pair.agreement.by_step
    assert pair.agreement.notes == (
        "the numbers of steps differ (3 and 2): compared as means over steps only, not step by "
        "step",
    )


def test_partial():
    """Of an interrupted trace the finished steps are compared with the same ones."""
    about = manifest()
    short = replace(about, status="partial", steps=about.steps[:2])
    pair = compare(trace(), trace(short))
    assert pair.steps == (0, 1)
    assert pair.agreement.by_step
    np.testing.assert_array_equal(pair.base.mass_steps, pair.variant.mass_steps)
    assert pair.agreement.notes == (
        "the capture of seed 7 was interrupted: its first 2 steps are compared with the same ones",
    )


def test_partial_of_another_length():
    """An interrupted trace of another number of steps has nothing in common."""
    about = manifest(steps=5)
    short = replace(about, status="partial", steps=about.steps[:2])
    with pytest.raises(AnalysisError, match="a trace was interrupted, and what it has of its 3"):
        compare(trace(), trace(short))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (replace(manifest(), steps=()), "has no finished step: capture it again"),
        (manifest(samples=1), "the traces have 2 and 1 images each: capture as many of both"),
        (manifest(branches=("uncond",)), "has no branch 'cond'; it has uncond"),
    ],
    ids=["no step", "samples", "branch"],
)
def test_refusals(about, message):
    """What cannot be compared is refused, with what helps."""
    with pytest.raises(AnalysisError, match=message):
        compare(trace(), trace(about))


def test_other_noise():
    """What decides the noise and differs is named."""
    about = replace(manifest(), request=replace(manifest().request, seed=8))
    pair = compare(trace(), make_trace(about))
    assert pair.agreement.noise == ("seed 7 and 8",)


@pytest.mark.parametrize(
    ("hashes", "changes", "differing"),
    [
        (("a", "a"), {"seed": 8}, ()),
        (("a", "a"), {"width": 64}, ("size ?x? and 64x?",)),
        (("a", "b"), {}, ("first input of the denoiser, seed 7",)),
        (("a", "b"), {"scheduler": "other"}, ()),
        (("a", None), {"width": 64}, ("size ?x? and 64x?",)),
    ],
)
def test_proof_of_the_same_noise(hashes, changes, differing):
    """Hashes prove it at one size; where samplers differ or one is missing, the request tells."""
    sides = []
    for item, other in zip(hashes, ({}, changes), strict=True):
        about = replace(manifest(), identity={"noise": [item]} if item else {})
        sides.append(trace(about, **other))
    assert compare(*sides).agreement.noise == differing


def test_meaningless_options():
    """An empty list of words is a mistake, not all words."""
    with pytest.raises(ValueError, match="nothing is named"):
        PairOptions(words=())
