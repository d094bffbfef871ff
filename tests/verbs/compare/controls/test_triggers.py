"""Prompts without trigger words."""

from types import SimpleNamespace

import pytest

from attn.analysis.compare.pairs import PairOptions
from attn.errors import AnalysisError
from attn.verbs.compare.controls.triggers import moved_words, require_triggers, without_words
from tests.helpers.toy_pairs import make_pairs


@pytest.mark.parametrize(
    ("prompt", "words", "expected"),
    [
        ("a red cat on a mat", ["cat"], "a red on a mat"),
        ("Zxq, a photo of zxq man, film", ["zxq", "film"], "a photo of man"),
        ("a red cat", ["red cat"], "a"),
        ("cats and a cat.", ["cat"], "cats and a."),
        ("<lora:cat:0.8> a cat, (fur:1.2)", ["cat"], "<lora:cat:0.8> a, (fur:1.2)"),
        ("a  dog", ["cat"], "a  dog"),
    ],
)
def test_without_words(prompt, words, expected):
    """Words go with the spaces and commas that they leave; names of LoRAs stay."""
    assert without_words(prompt, words) == expected


@pytest.mark.parametrize(
    ("triggers", "message"),
    [
        (("cot",), "trigger: 'cot' is not in 'a red cat'. Did you mean 'cat'? Give a prompt with "
         "it, or --trigger one of: a, red, cat"),
        (("a", "red", "cat"), "trigger: nothing is left of 'a red cat' without a, red, cat; give a "
         "longer prompt, or fewer words"),
    ],
)  # fmt: skip
def test_refused(triggers, message):
    """A trigger that is not in the prompt, or all of it, is refused with what to do."""
    with pytest.raises(AnalysisError) as caught:
        require_triggers(["a red cat"], triggers)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"cat": 0.5, "bobcat": -0.3, "a": 0.9}, ("cat", "bobcat")),
        ({"cat": 0.1, "bobcat": 0.5}, ("bobcat",)),
        ({}, ()),
    ],
)
def test_moved_words(factors, words):
    """Content words that move most of what they had are named, up to half of the largest part."""
    variant = SimpleNamespace(pairs=make_pairs(3, **factors))
    assert moved_words([variant], PairOptions()) == words
