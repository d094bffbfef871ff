"""What controls say of a LoRA, in sentences that claim no more than intervals show."""

import pytest

from attn.analysis.tables import make_frame
from attn.verbs.compare.controls.control_answer import summarise_leak, tell_controls
from attn.verbs.report_page import plain

UNKNOWN = float("nan")
FEW = (UNKNOWN,) * 3
NULL = {"variant_name": "a", "null_name": "a:null=0", "word": "cat", "null_word": "red"}
SIZE = "random weights of the same size"
WORDS = "“cat” against “red”, the words that each changes most in mass"


def ratio(value, low, high, least=None):
    """Return the columns of a ratio."""
    least = min(abs(low), abs(high)) if least is None else least
    return {"effect": 0.3, "ratio": value, "low": low, "high": high, "least": least, "n": 5}


def told(name, *rows):
    """Return the sentences about a table of rows."""
    frame = make_frame({key: [row[key] for row in rows] for key in rows[0]})
    return plain(tell_controls({name: frame}, ["a"]))


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (ratio(-11, -12, -10), f"The effect of a is 11× that of {SIZE} (ratio -11, 95 % interval "
         f"-12 to -10; {WORDS})."),
        (ratio(1.25, 0.8, 1.9), f"The effect of a is not shown to differ from that of {SIZE}: "
         f"1.25× (95 % interval 0.8 to 1.9; {WORDS})."),
        (ratio(0.5, 0.4, 0.6), f"The effect of a is smaller than that of {SIZE}: 0.5× (95 % "
         f"interval 0.4 to 0.6; {WORDS})."),
        (ratio(-0.3, -0.8, 0.2), f"The effect of a is smaller than that of {SIZE}: 0.3× "
         f"(ratio -0.3, 95 % interval -0.8 to 0.2; {WORDS})."),
        (ratio(40, UNKNOWN, UNKNOWN, 9), f"{SIZE.capitalize()} are not shown to change any word; "
         "the effect of a is at least 9× theirs."),
        (ratio(40, UNKNOWN, UNKNOWN, 0), f"Neither a nor {SIZE} are shown to change any word."),
        (ratio(4, UNKNOWN, UNKNOWN, UNKNOWN), f"The effect of a is 4× that of {SIZE} ({WORDS}), in "
         "too few images to tell from chance."),
        (ratio(4e9, 3e9, 5e9), f"The effect of a is over 100× that of {SIZE} (95 % interval over "
         f"100; {WORDS})."),
    ],
)  # fmt: skip
def test_null(numbers, text):
    """An effect is more than that of random weights only if the interval leaves 1 out."""
    assert told("null.csv", NULL | {"measure": "strongest"} | numbers) == text


def test_null_of_the_same_word_and_of_images():
    """Beside the strongest words, the LoRA's own word and the images are told."""
    rows = [
        NULL | {"measure": "strongest"} | ratio(2, 1.5, 2.5),
        NULL | {"measure": "word", "null_word": "cat"} | ratio(8, 7, 9),
        NULL | {"measure": "level"} | ratio(1.1, 0.9, 1.4),
    ]
    assert told("null.csv", *rows).partition("). ")[2] == (
        "On “cat” itself it is 8× theirs (95 % interval 7 to 9). a changes the image, and is not "
        "shown to do so more or less than they: 1.1× (95 % interval 0.9 to 1.4)."
    )


def test_null_of_one_word():
    """Where both change the same word most, it is named once."""
    row = NULL | {"measure": "strongest", "null_word": "cat"} | ratio(2, 1.5, 2.5)
    assert told("null.csv", row) == (
        f"The effect of a is 2× that of {SIZE} (95 % interval 1.5 to 2.5; on “cat”, which both "
        "change most in mass)."
    )


def test_a_lora_of_zeros():
    """What changes nothing is not held against anything."""
    row = NULL | {"measure": "strongest"} | ratio(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    assert told("null.csv", row | {"effect": 0.0}) == ""


def block(part, kind, numbers, measure="word"):
    """Return a row of `parts.csv`."""
    names = {"whole_name": "a", "part": part, "kohya": f"K-{part}", "kind": kind}
    return names | {"variant_name": f"a@{part}", "measure": measure, "word": "cat"} | numbers


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([block("up", "alone", ratio(0.8, 0.7, 0.9)), block("mid", "alone", ratio(0.2, 0.1, 0.3)),
          block("up", "without", ratio(0.2, 0.1, 0.3)),
          block("mid", "without", ratio(0.8, 0.7, 1.1))],
         "Most of the effect of a on “cat” is carried by up (K-up): without it 20 % is left (95 % "
         "interval 10 to 30 %), alone it gives 80 % (95 % interval 70 to 90 %)."),
        ([block("up", "alone", ratio(0.8, 0.7, 0.9)), block("up", "without", ratio(0.9, 0.7, 1.1))],
         "No block of a is shown to be needed for its effect on “cat”: without each of them "
         "the interval of what is left holds all of it; alone up (K-up) gives most, 80 % (95 % "
         "interval 70 to 90 %)."),
        ([block("up", "alone", ratio(0.8, 0.7, 0.9)), block("up", "without", ratio(0.2, 0.1, 0.3)),
          block("up", "alone", ratio(0.9, 0.7, 1.1), "level"),
          block("up", "without", ratio(0.4, -0.1, 0.6), "level")],
         "Most of the effect of a on “cat” is carried by up (K-up): without it 20 % is left (95 % "
         "interval 10 to 30 %), alone it gives 80 % (95 % interval 70 to 90 %). The largest part "
         "of the effect of a on the image is carried by up (K-up): without it 40 % is left (95 % "
         "interval 0 to 60 %, cut at 0), alone it gives 90 % (95 % interval 70 to 110 %)."),
        ([block("up", "alone", ratio(0.8, 0.6, 0.9)), block("up", "without", ratio(0.6, 0.4, 0.7))],
         "The largest part of the effect of a on “cat” is carried by up (K-up): without it 60 % is "
         "left (95 % interval 40 to 70 %), alone it gives 80 % (95 % interval 60 to 90 %)."),
        ([block("up", "alone", ratio(0.8, UNKNOWN, UNKNOWN, UNKNOWN)),
          block("up", "without", ratio(0.3, UNKNOWN, UNKNOWN, UNKNOWN))],
         "Without up (K-up) 30 % of the effect of a on “cat” is left, alone it gives 80 %, in too "
         "few images to tell from chance."),
        ([block("b", "without", ratio(0.3, 0.2, 0.4)), block("c", "without", ratio(1, 0.8, 1.2))],
         "Without b 30 % of the effect of a on “cat” is left (95 % interval 20 to 40 %). Without c "
         "100 % of the effect of a on “cat” is left (95 % interval 80 to 120 %), which is not "
         "shown to be less than all of it."),
        ([block("b", "without", ratio(0.3, -0.2, 0.4), "level")],
         "Without b 30 % of the effect of a on the image is left (95 % interval 0 to 40 %, cut at "
         "0)."),
        ([block("b", "without", ratio(0.3, -0.2, 1.4), "level")],
         "Without b 30 % of the effect of a on the image is left (95 % interval 0 to 140 %, cut at "
         "0), which is not shown to be less than all of it."),
        ([block("b", "without", ratio(0.3, -0.2, 1.4))],
         "Without b 30 % of the effect of a on “cat” is left (95 % interval -20 to 140 %), which "
         "is not shown to be less than all of it or more than nothing."),
        ([block("b", "without", ratio(-0.008, -0.02, 0.01)),
          block("b", "without", ratio(0.9, 0.8, 1.2), "level")],
         "Without b nothing of the effect of a on “cat” is left (95 % interval -2 to 1 %), and "
         "90 % of that on the image is left (95 % interval 80 to 120 %), which is not shown "
         "to be less than all of it."),
        ([block("b", "without", ratio(1.004, 1.00149, 1.01))],
         "Without b 100.4 % of the effect of a on “cat” is left (95 % interval 100.1 to 101 %), "
         "which is more than with it."),
        ([block("b", "without", ratio(1.0111, 1.0108, 1.0114))],
         "Without b 101 % of the effect of a on “cat” is left (95 % interval 101 %), which is more "
         "than with it."),
        ([block("b", "without", ratio(1.25, 1.1, 1.5))],
         "Without b 125 % of the effect of a on “cat” is left (95 % interval 110 to 150 %), which "
         "is more than with it."),
        ([block("b", "without", ratio(-0.4, -0.6, -0.2))],
         "Without b the reverse of 40 % of the effect of a on “cat” is left (95 % interval -60 to "
         "-20 %)."),
    ],
)  # fmt: skip
def test_parts(rows, text):
    """The block without which least is left carries the effect, if its interval shows a loss."""
    assert told("parts.csv", *rows) == text


LEAK = {"variant_name": "a", "trigger": "cat, eyes", "with": 7.0, "without": 5.0}


@pytest.mark.parametrize(
    ("level", "moved", "end"),
    [
        (ratio(0.5, 0.3, 0.7), ratio(0.25, 0.2, 0.3), "0.5× as much as with them (95 % interval "
         "0.3 to 0.7) and moves attention to the other words 0.25× as much as "
         "with them (95 % interval 0.2 to 0.3)."),
        (ratio(0.04, 0.01, 0.06), ratio(0.02, 0.01, 0.03), "it hardly acts without."),
        (ratio(1, 0.8, 1.2), ratio(0.9, 0.6, 1), "most of its effect does not need them."),
        (ratio(0.6, -0.1, 1.3), ratio(0.9, 0.6, 1.1), "0.6× as much as with them (95 % interval 0 "
         "to 1.3, cut at 0; not shown to differ) and moves attention to the other words 0.9× as "
         "much as with them (95 % interval 0.6 to 1.1; not shown to differ)."),
        (ratio(*(1, *FEW)), ratio(*(0.9, *FEW)), "1× as much as with them and moves "
         "attention to the other words 0.9× as much as with them, in too few images to tell from "
         "chance."),
    ],
)  # fmt: skip
def test_leak(level, moved, end):
    """A leak is told as the part that is left without the trigger words."""
    rows = [LEAK | {"measure": "level"} | level, LEAK | {"measure": "moved"} | moved]
    text = told("leak.csv", *rows)
    assert text.startswith("Without “cat” and “eyes” in the prompt a changes the image ")
    assert text.endswith(end)


def test_leak_of_nothing():
    """Where no image changes visibly, nothing is said of who needs the words."""
    numbers = ratio(2.17, 1.5, 3) | {"with": 0.6, "without": 1.3}
    text = told("leak.csv", LEAK | {"measure": "level"} | numbers)
    assert text.endswith("Neither can be seen, so it is not shown what needs them.")


@pytest.mark.parametrize(
    ("numbers", "end"),
    [
        (ratio(0.5, 0.3, 0.7), " (95 % interval 30 to 70 %)"),
        (ratio(0.5, -0.3, 1.7), " (95 % interval 0 to 170 %, cut at 0), which is not shown to be "
         "less than all of it"),
        (ratio(*(0.5, *FEW)), ", in too few images to tell from chance"),
    ],
)  # fmt: skip
def test_headline_of_a_leak(numbers, end):
    """The title of its figure says what its interval does not show, and where it was cut."""
    start = "Without “cat” and “eyes” 50 % of the change of the images by a is left"
    assert summarise_leak([LEAK | {"measure": "level"} | numbers]) == f"{start}{end}"
