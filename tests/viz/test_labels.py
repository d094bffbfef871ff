"""Words in pictures and in file names."""

import pytest

from attn.viz.labels import file_stem, letter_count, printable, ranges, room, shown_token, wrap


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("barn", "barn"),
        ("Кошка ñ", "Кошка ñ"),
        ("two\nlines\tand  more", "two lines and more"),
        ("cafe\u0301", "café"),
    ],
)
def test_printable(text, shown):
    """Everything is on one line, in letters that are composed."""
    assert printable(text) == shown


def test_room():
    """East Asian letters are twice as wide, so half as many of them fit into a line."""
    assert [letter_count(text) for text in ("cat", "猫と", "a猫", "")] == [3, 4, 3, 0]
    assert [room(text, 10) for text in ("cat" * 9, "猫" * 9, "")] == [10, 5, 1]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("sdxl · 16 pairs · a = b", ["sdxl · 16 pairs", "a = b"]),  # no line begins with a dot
        ("a cat on the long red chair", ["a cat on the", "long red chair"]),
        ("猫猫猫猫猫猫猫猫", ["猫猫猫猫猫猫猫", "猫"]),
        ("one two three · four five six · seven eight nine · ten",
         ["one two three", "four five six", "seven eight …"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_wrap(text, lines, monkeypatch):
    """Headings end their lines between their parts, and say where they were cut."""
    monkeypatch.setattr("attn.viz.labels.boxed", str)  # whatever fonts there are
    assert wrap(text, 15, 3) == lines


def test_tokens_at_edges():
    """The task tokens of chat models are shown whole; what is longer says that it was cut."""
    assert shown_token("<|start_header_id|>") == "<|start_header_id|>"
    assert shown_token("<|a_name_that_never_ends|>") == "<|a_name_that_never…"


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("barn", "007-barn"),
        ("can't", "007-can-t"),
        ("../../etc/passwd", "007-etc-passwd"),
        ("a\\b:c*d?.", "007-a-b-c-d"),
        ("CON", "007-CON"),
        ("🦄", "007-word"),
        ("猫", "007-猫"),
        ("बिल्ली", "007-बिल्ली"),
        ("สี", "007-สี"),
        ("می\u200cخواهم", "007-می-خواهم"),
        ("x" * 300, "007-" + "x" * 40),
    ],
)
def test_file_stem(word, stem):
    """File names keep letters with their marks, digits, `_` and `-`, and are short."""
    assert file_stem(7, word) == stem


def test_file_stems_differ():
    """The index keeps equal words and words that differ in case apart on every file system."""
    names = [file_stem(index, word).casefold() for index, word in enumerate(["A", "a", "a"])]
    assert len(set(names)) == 3


def test_ranges():
    """Numbers are shortened to ranges."""
    assert ranges([0, 1, 2, 3, 7, 9, 10]) == "0-3,7,9-10"
    assert ranges([]) == ""
