"""Text from outside: what steers a terminal is spelled, what begins a formula is quoted."""

import csv
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn.analysis.result import Document, Matrix, Text
from attn.analysis.tables import make_table, write_table
from attn.files.safe_text import csv_cell, visible

SPELLED = {
    "\x1b]0;title\x07": r"\u001b]0;title\u0007",
    "\x9b2J": r"\u009b2J",
    "a\rb\x7f": r"a\rb\u007f",
    "left \u202ethgir\u202c": r"left \u202ethgir\u202c",
    "\ud800.png": r"\ud800.png",
    "one\u2028two": r"one\u2028two",
    "tab\tline\n": "tab\tline\n",
    "猫 🐈\u200d⬛ नमस्ते\u200c": "猫 🐈\u200d⬛ नमस्ते\u200c",
}


@pytest.mark.parametrize(("text", "expected"), SPELLED.items(), ids=ascii)
def test_visible(text, expected):
    """Controls and marks of direction are spelled; joiners of scripts and emoji stay."""
    assert visible(text) == expected


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_steers(text):
    """No control but tab and new line gets through, and what comes out can be encoded."""
    kinds = {unicodedata.category(letter) for letter in visible(text) if letter not in "\t\n"}
    assert kinds.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    visible(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_json_stays_the_same(text):
    """JSON that was made visible still says what it said."""
    assert json.loads(visible(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-2 cats", "@SUM(A1)", "\t=1"])
def test_formula(text):
    """What a spreadsheet would run as a formula begins with an apostrophe."""
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-", "@", "a=b", "'=1", "", -2.5, 7, None, True])
def test_no_formula(value):
    """A sign alone, other text, and numbers stay as they are."""
    assert csv_cell(value) is value


def test_written_files(tmp_path):
    """Every kind of file that analyses write goes through the same function."""
    bad, header = "=1+\x1b[2J", "'=1+\\u001b[2J"
    table = make_table({bad: [bad, "cat"], "n": [1, -2]})
    write_table(table, tmp_path / "t.csv")
    Matrix(("block", bad), (0,), np.array([[0.5]])).write(tmp_path / "m.csv")
    Text(bad).write(tmp_path / "t.txt")
    Document({"prompt": "\x9b\u202e"}).write(tmp_path / "d.json")
    rows = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    assert rows == [[header, "n"], [header, "1"], ["cat", "-2"]]
    assert (tmp_path / "m.csv").read_text().split() == [f"block,{header}", "0,0.500000"]
    assert (tmp_path / "t.txt").read_text() == r"=1+\u001b[2J"
    assert r"\u009b\u202e" in (tmp_path / "d.json").read_text()
