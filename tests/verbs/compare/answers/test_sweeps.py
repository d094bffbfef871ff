"""From where on a sweep works and breaks images, and which of its scales is told of."""

import numpy as np
import pytest

from attn.analysis.compare.changes import TermChange
from attn.analysis.compare.paired import paired_change
from attn.analysis.compare.sweep import Sweep, SweepPoint
from attn.analysis.compare.terms import Term
from attn.analysis.tables import make_table
from attn.verbs.compare.answer import tell, told_labels
from attn.verbs.compare.answers.sweeps import tell_sweep
from attn.verbs.compare.rows import VariantTables
from attn.verbs.report_page import Sentence, plain


@pytest.mark.parametrize(
    ("works", "breaks", "low", "expected"),
    [
        (1, 1, 0.1, "LoRA style works from scale 1: there “cat” gets 50 % more attention, and the "
         "image changes visibly, by 20 of 255 levels. It breaks the image from scale 1, where a "
         "step changes it 3 times as fast as the step before, to 20 of 255 levels. All that "
         "follows is of scale 0.5, the largest that does not break it; the tables have all. style "
         "at 0.5 is told."),
        (1, 0, 0.1, "LoRA style works from scale 1. It breaks the image nowhere from scale 0.5 to "
         "1: no step of it is shown to change the image twice as fast as the step before, and "
         "visibly (over 2.55 of 255 levels). style at 1 is told."),
        (0, 0, 0.0, "LoRA style is not shown to work from scale 0.5 to 1: no interval of the "
         "leading word “cat” leaves 0 out. It breaks the image nowhere from scale 0.5 to 1: no "
         "step of it is shown to change the image twice as fast as the step before, and "
         "visibly (over 2.55 of 255 levels)."),
        (0, 0, np.nan, "LoRA style was swept from scale 0.5 to 1 in too few images to tell from "
         "where on it works or breaks the image: from four on there are intervals."),
    ],
)  # fmt: skip
def test_sweep(works, breaks, low, expected):
    """A sweep says from where on it works and breaks, that it does nowhere, or what is lacking."""
    term = Term("clip", "word", "cat", 1, False, (("clip", 1),))
    word = TermChange(term, paired_change(*[np.array([0.1, 0.2])] * 2))
    points = tuple(SweepPoint(f"style:{at}", at, [word], {}) for at in (0.5, 1.0))
    rows = make_table(
        {
            "scale": [0.5, 1.0],
            "word": ["cat"] * 2,
            "change": [0.0, 0.1],
            "relative_change": [0.0, 0.5],
            "low": [np.nan, low],
            "level": [5.0, 20.0],
            "level_low": [np.nan, 19.0 if works else np.nan],
            "step": [10.0, 30.0],
            "works": [0, works],
            "breaks": [0, breaks],
        }
    )
    whole = points[:1] if breaks else points
    sweep = Sweep("LoRA style", 0.0, points, whole, word, 1.0, 1.0, 1.0, rows, unit="scale")
    label = told_labels([point.label for point in points], sweep)[0]
    ends = [] if not works else [Sentence(f"style at {float(label[6:]):g} is told.")]
    assert plain(tell([], sweep, ends)) == expected


@pytest.mark.parametrize(
    ("high", "visible", "told"),
    [
        (2.0, 2.0, "does not change visibly there, by 1.5 of 255 levels (2.55 can be seen), which "
         "it does from scale 2 on."),
        (3.0, None, "is not shown to change visibly there, by 1.5 of 255 levels (2.55 can be "
         "seen)."),
    ],
)  # fmt: skip
def test_what_cannot_be_seen(high, visible, told):
    """Where attention moves and nobody would see a difference, the same sentence says so."""
    term = Term("clip", "word", "cat", 1, False, (("clip", 1),))
    word = TermChange(term, paired_change(*[np.array([0.1, 0.2])] * 2))
    points = tuple(SweepPoint(f"style:{at}", at, [word], {}) for at in (1.0, 2.0))
    rows = make_table(
        {"scale": [1.0, 2.0], "word": ["cat"] * 2, "change": [0.1, 0.2],
         "relative_change": [0.5, 1], "low": [0.05, 0.1],
         "level": [1.5, 9.0], "level_low": [1.0, 8.0],
         "level_high": [high, 10.0], "works": [1, 0], "breaks": [0, 0]}
    )  # fmt: skip
    sweep = Sweep("LoRA style", 0.0, points, points, word, 1.0, visible, None, rows, unit="scale")
    first = next(tell_sweep(sweep)).text
    assert first == (
        "LoRA style works from scale 1, the first that was tried, or before: there “cat” gets 50 % "
        f"more attention, but the image {told}"
    )


def test_files():
    """Files of a training are told by number and name, and with which one a word changes most."""
    term = Term("clip", "word", "cat", 1, False, (("clip", 1),))
    word = TermChange(term, paired_change(*[np.array([0.1, 0.2])] * 2))
    names = ("style-2", "style-10", "style")
    numbers = (2.0, 10.0, 18.0)
    points = tuple(
        SweepPoint(name, at, [word], {}) for at, name in zip(numbers, names, strict=True)
    )
    rows = make_table(
        {
            "file": numbers,
            "variant_name": names,
            "word": ["cat"] * 3,
            "change": [0.0, 0.1, 0.3],
            "relative_change": [0.0, 0.5, 1.5],
            "low": [0.0, 0.1, 0.2],
            "level": [5.0, 10.0, 30.0],
            "level_low": [4.0, 9.0, 28.0],
            "step": [2.5, 0.625, 2.5],
            "works": [0, 1, 0],
            "breaks": [0, 0, 1],
        }
    )
    marks = (10.0, 2.0, 18.0, rows, "file", ("2", "10", "end"), "epoch")
    sweep = Sweep("LoRA epoch", 0.0, points, points[:2], word, *marks)
    assert plain(tell([VariantTables("style", {}, {})], sweep)) == (
        "The LoRA works from epoch 10 (style-10). It breaks the image from the last file, where a "
        "step changes it 4 times as fast as the step before, to 30 of 255 levels. All that follows "
        "is of epoch 10 (style-10), the last that does not break it; the tables have all."
    )
