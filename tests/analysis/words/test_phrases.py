"""Phrases: where they are in a prompt, and how the values of their words are combined."""

import numpy as np
import pytest

from attn.analysis.words.phrases import combine
from attn.analysis.words.words import WordsOptions, run
from attn.errors import AnalysisError
from attn.schema import find_words
from attn.trace.words.occurrences import find_occurrences, find_phrases
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    JOINT,
    make_trace,
    manifest,
    plain_maps,
    stored,
    tensors,
)

PROMPT = find_occurrences(find_words("A cat, in front of a cat on a mat"))


def find(*phrases, mode="span"):
    """Return text, number and word indices of what is found."""
    return [
        (phrase.text, phrase.number, phrase.words) for phrase in find_phrases(PROMPT, phrases, mode)
    ]


def test_spans():
    """A phrase is its words in a row, whatever their case and the punctuation between them."""
    assert find("In  FRONT of") == [("In FRONT of", 1, (2, 3, 4))]
    assert find("cat in") == [("cat in", 1, (1, 2))]


def test_repeated_phrases():
    """Every occurrence is its own, numbered; occurrences do not overlap."""
    assert find("a cat") == [("a cat", 1, (0, 1)), ("a cat", 2, (5, 6))]
    words = find_occurrences(find_words("a a a a a"))
    assert [phrase.words for phrase in find_phrases(words, ["a a"], "span")] == [
        (0, 1),
        (2, 3),
    ]


def test_bag():
    """As a bag, a phrase is all occurrences of its words, wherever they stand."""
    assert find("cat a", mode="bag") == [("cat a", 1, (0, 1, 5, 6, 8))]


def test_equal_phrases():
    """A phrase that is named twice is looked at once."""
    assert len(find("front of", "Front of")) == 1


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        (
            "in front off",
            r"no phrase 'in front off': of its words the prompt has in, front, but not off\.",
        ),
        ("red dog", r"no phrase 'red dog': it has none of its words, but not|none of its words"),
        ("of front", r"its words are there, but not in a row; --set phrase_mode=bag takes"),
        ("!?", r"the phrase '!\?' has no words"),
    ],
)
def test_absent(phrase, message):
    """What is not in the prompt is an error that says which of its words are."""
    with pytest.raises(AnalysisError, match=message):
        find(phrase)


def test_weights():
    """Sum, mean and mean by attention, against plain formulas."""
    values, means = np.random.default_rng(0).random((10, 3, 2)), np.arange(20.0).reshape(10, 2)
    phrases = find_phrases(PROMPT, ["in front of"], "span")
    own, weight = values[2:5], means[2:5] / means[2:5].sum(0)
    np.testing.assert_allclose(combine(values, phrases, "sum", means)[0], own.sum(0))
    np.testing.assert_allclose(combine(values, phrases, "uniform", means)[0], own.mean(0))
    expected = (own * weight[:, None]).sum(0)
    np.testing.assert_allclose(combine(values, phrases, "attention", means)[0], expected)


def test_weights_of_nothing():
    """Words without any attention weigh the same."""
    phrases = find_phrases(PROMPT, ["in front"], "span")
    values = np.ones((10, 2))
    assert (combine(values, phrases, "attention", np.zeros((10, 2))) == 1).all()


def test_a_word_without_value():
    """A phrase of which a word is not there is not known."""
    values = np.ones((10, 1))
    values[3] = np.nan
    phrases = find_phrases(PROMPT, ["in front", "a cat"], "span")
    assert np.isnan(combine(values, phrases, "sum", values)).ravel().tolist() == [
        True,
        False,
        False,
    ]


def test_tables_and_maps():
    """A phrase's mass, share and map are the sums of those of its words' tokens."""
    about = manifest()
    files = tensors(about)
    result = run(make_trace(about, files), WordsOptions(phrases=("a bobcat", "a cat")))
    rows = result.columns["clip/tables/phrases.csv"]
    assert list(rows)[:2] == ["phrase", "occurrence"]
    positions = CLIP_WORDS["a", 2] + CLIP_WORDS["bobcat", 1]
    selected = (rows["phrase"] == "a bobcat") & (rows["layer"] == 3) & (rows["step"] == 2)
    for measure in ("mass", "share"):
        stack = stored(files, about.layers[1], measure, 2)[..., positions].sum(-1)
        expected = stack.mean(1) if measure == "mass" else stack
        np.testing.assert_allclose(rows[measure][selected], expected, rtol=1e-6)
    maps = result.arrays["clip/phrases"]
    assert (maps.attrs["kind"], maps["label"].values.tolist()) == ("phrases", ["a bobcat", "a cat"])
    np.testing.assert_allclose(maps[1, 0], plain_maps(about, files, positions, 1), rtol=1e-6)


def test_attention_weights_of_maps():
    """Weighed by attention, a phrase's map is what sd3.5-attention-analysis draws."""
    words = run(make_trace(), WordsOptions(normalise=True)).arrays["clip"].values[0]
    options = WordsOptions(
        normalise=True, phrases=("a cat",), weights="attention", phrase_mode="bag"
    )
    drawn = run(make_trace(), options).arrays["clip/phrases"].values[0, 0]
    mass = words[:3].sum((1, 2))
    np.testing.assert_allclose(drawn, np.tensordot(mass / mass.sum(), words[:3], 1))


def test_cut_phrase():
    """A phrase of which a word did not fit is named and left out in that segment."""
    result = run(make_trace(manifest(JOINT)), WordsOptions(phrases=("a bobcat",)))
    expected = "phrases that segment 't5' does not hold whole are left out: a bobcat"
    assert expected in result.notes
    assert "t5/tables/phrases.csv" not in result.tables
    assert result.columns["t5/tables/phrases_summary.csv"]["phrase"].size == 0
    assert "t5/phrases" not in result.arrays


def test_together():
    """The segment `text` has the tokens of all encoders."""
    result = run(make_trace(manifest(JOINT)), WordsOptions(together=True))
    parts = [result.arrays[name].sel(word=1) for name in ("clip", "t5", "text")]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2])
    summary = result.columns["text/tables/words_summary.csv"]
    assert summary["tokens"].tolist() == [2, 2, 2, 2, 2, 2, 2, 2]


def test_aligned():
    """The table of tokens says for each word which tokens of which encoder it is."""
    columns = run(make_trace(manifest(JOINT)), WordsOptions()).columns["words/aligned.csv"]
    rows = list(zip(*columns.values(), strict=True))
    assert rows[2:4] == [("cat", 1, "clip", "2", "cat"), ("cat", 1, "t5", "12", "▁cat")]
    assert rows[-2:] == [("bobcat", 1, "clip", "5 6", "bob cat"), ("bobcat", 1, "t5", "", "")]
