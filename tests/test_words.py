"""What a word is in any script, and how one is found."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn.words import find_spans, find_words, fold, split_words, word_keys


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("एक लाल बिल्ली", "एक लाल बिल्ली"),
        ("แมวสีแดง น้ำ", "แมวสีแดง น้ำ"),
        ("قِطَّة حمراء", "قِطَّة حمراء"),
        (normalize("NFD", "a café, jalapeño"), normalize("NFD", "a café jalapeño")),
        (normalize("NFD", "빨간 고양이"), normalize("NFD", "빨간 고양이")),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner
        ("श्री\u200d", "श्री\u200d"),
        ("葛\U000e0100城", "葛\U000e0100城"),  # a variation selector
        ("1\ufe0f\u20e3 ❤\ufe0f x", "1\ufe0f\u20e3 x"),  # nothing of an emoji
        ("🐈\u200d⬛ cat 👩🏽\u200d🚀", "cat"),
        ("so\u00adft\u200f x\u200by", "so\u00adft x y"),  # a space of no width parts words
        ("l’été isn't 24-bit a--b", "l’été isn't 24-bit a b"),
        ("\u0301 \u200d", ""),
    ],
)
def test_words(prompt, expected):
    """Marks, joiners and what else cannot be seen stay with their letter, in both normal forms."""
    assert [word.text for word in find_words(prompt)] == expected.split()


@pytest.mark.parametrize(
    ("prompt", "name", "expected"),
    [
        ("a red, cat", "Red cat", ["red, cat"]),
        ("la la la land", "la la", ["la la"]),
        ("a category", "cat", []),
        ("a well-lit cat", "lit", []),
        ("the rapist", "therapist", []),
        ("一只红色的猫坐在猫", "猫", ["猫", "猫"]),
        ("一只红色的猫", "红色的猫", ["红色的猫"]),
        ("红色Cat猫", "cat", ["Cat"]),
        ("แมวสีแดง", "สี", ["สี"]),
        ("แมวสีแดง", "ส", []),  # never a letter without its vowel
        (normalize("NFD", "jalapeño"), "JALAPEÑO", [normalize("NFD", "jalapeño")]),
        ("고양이", normalize("NFD", "고양이"), ["고양이"]),
        ("고", "ㄱ", []),
        ("می\u200cخواهم", "میخواهم", ["می\u200cخواهم"]),
        ("İstanbul straße", "STRASSE", ["straße"]),
        ("a cat", "!?", []),
    ],
)
def test_spans(prompt, name, expected):
    """A name is found as whole words, or between letters where a script has no spaces."""
    spans = find_spans(find_words(prompt), name)
    assert [prompt[start:stop] for start, stop in spans] == expected


@given(st.text())
def test_words_are_found(prompt):
    """Every word of any prompt is found where it stands, in either normal form."""
    words = find_words(prompt)
    for word in words:
        spans = find_spans(words, normalize("NFC", word.text))
        assert (word.start, word.stop) in spans or any(
            start < word.stop and word.start < stop for start, stop in spans
        )


@given(st.text(), st.text(max_size=3))
def test_pieces(prompt, name):
    """Pieces of words add up to the words, and what they were made for is found as before."""
    words = find_words(prompt)
    spans = find_spans(words, name)
    pieces = split_words(words, spans)
    assert "".join(piece.text for piece in pieces) == "".join(word.text for word in words)
    assert all(prompt[piece.start : piece.stop] == piece.text for piece in pieces)
    assert find_spans(pieces, name) == spans


def test_keys():
    """Words are equal whatever their case, normal form and invisible characters."""
    assert fold(normalize("NFD", "CAFÉ")) == fold("café") == "café"
    assert word_keys("Red, so\u00adft CATS") == ("red", "soft", "cats")
