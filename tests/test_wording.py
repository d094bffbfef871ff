"""Texts of messages: cut, listed, counted."""

import pytest

from attn.wording import count_noun, cut, digits, list_some, percent


@pytest.mark.parametrize(("text", "expected"), [("abc", "abc"), ("abcd", "abc…"), ("", "")])
def test_cut(text, expected):
    """A text that is as long as it may be stays whole; what is cut is said."""
    assert cut(text, 3) == expected


@pytest.mark.parametrize(
    ("items", "separator", "expected"),
    [
        ([], ", ", "nothing"),
        ([1, 2], ", ", "1, 2"),
        (iter("abcde"), ", ", "a, b and 3 more"),
        ("abc", "; ", "a; b; and 1 more"),
    ],
)
def test_list_some(items, separator, expected):
    """The first items are told, and how many there are beyond."""
    assert list_some(items, 2, separator) == expected


def test_count_noun():
    """One is singular, everything else plural."""
    assert [count_noun(number, "trace") for number in (0, 1, 2)] == [
        "0 traces",
        "1 trace",
        "2 traces",
    ]


@pytest.mark.parametrize(
    ("number", "bounds", "expected"),
    [
        (1.00437, (), "1"),
        (1.00437, (1,), "1.004"),
        (0.99996, (0.5, 1), "0.99996"),
        (1, (1,), "1"),
        (97.24, (97.236,), "97.24"),
        (97.236, (97.24,), "97.2"),
        (2.5512, (2.55,), "2.551"),
        (float("nan"), (1,), "nan"),
    ],
)
def test_digits(number, bounds, expected):
    """Rounding never moves a number onto or across what it is held against."""
    assert digits(number, *bounds) == expected
    assert percent(number / 100, *(bound / 100 for bound in bounds)) == f"{expected} %"
