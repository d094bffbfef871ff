"""Tables of controls and of leaks, against float64 computations on the pairs."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare.controls.controls import (
    make_effect,
    null_effects,
    null_table,
    part_table,
)
from attn.analysis.compare.controls.leak import leak_table
from attn.analysis.compare.controls.ratios import ratio_of_means
from attn.analysis.compare.controls.roles import Role
from attn.analysis.tables import make_frame
from tests.helpers.toy_pairs import SEEDS, make_pairs


def changes(made, word):
    """Return the change of a word's mass in each pair, mean over layers, in float64."""
    at = next(at for at, term in enumerate(made[0].terms) if term.text == word)
    sides = (np.float64(getattr(pair, side).mass[0, at, :, 0]) for pair in made
             for side in ("variant", "base"))  # fmt: skip
    values = [side.mean() for side in sides]
    return np.array(values[::2]) - np.array(values[1::2])


def levels(made):
    """Return the level of each image."""
    return np.array([pair.images[0, 0] for pair in made])


def check(row, first, second, names):
    """Hold a row against the two rows of numbers that it is to be made of."""
    expected = ratio_of_means(first, second)
    numbers = [row[name] for name in (*names, "ratio", "low", "high", "n")]
    assert numbers == pytest.approx(
        [first.mean(), second.mean(), expected.value, expected.low, expected.high, len(SEEDS)]
    )


@pytest.fixture(scope="module")
def effects():
    """Return a LoRA that changes `cat`, random changes of `bobcat`, and half of the LoRA."""
    made = {"a": make_pairs(8, cat=0.5, bobcat=0.01), "null": make_pairs(6, bobcat=-0.1, cat=0.02),
            "part": make_pairs(2, cat=0.2)}  # fmt: skip
    return [make_effect(label, of, None) for label, of in made.items()]


def test_null(effects):
    """The effect is divided by that on the word that random weights change most, and its own."""
    table = null_table(effects[:2], [None, Role("null", 0)])
    strongest, word, level = make_frame(table).to_dict("records")
    whole, null, _ = (effect.pairs for effect in effects)
    assert (strongest["word"], strongest["null_word"], word["null_word"]) == (
        "cat",
        "bobcat",
        "cat",
    )
    check(strongest, changes(whole, "cat"), changes(null, "bobcat"), ("effect", "null"))
    check(word, changes(whole, "cat"), changes(null, "cat"), ("effect", "null"))
    check(level, levels(whole), levels(null), ("effect", "null"))


def test_segments(effects):
    """Equal words of two encoders are told apart: each has its segment behind it."""
    split = []
    for pair in effects[0].pairs:
        terms = [
            replace(term, segment="t5") if term.text == "bobcat" else term for term in pair.terms
        ]
        split.append(replace(pair, base=replace(pair.base, terms=tuple(terms))))
    names = [effect.word for effect in null_effects(replace(effects[0], pairs=split), effects[1])]
    assert names == ["cat (clip)", "cat (clip)", ""]


def test_parts(effects):
    """A part has its effect, and what part of the whole's that is, on the word and on images."""
    roles = [None, None, Role("without", 0, "up.2.attn.1")]
    word, level = make_frame(part_table(effects, roles)).to_dict("records")
    whole, _, part = (effect.pairs for effect in effects)
    assert (word["kohya"], word["whole_name"], word["variant_name"]) == ("OUT07", "a", "part")
    check(word, changes(part, "cat"), changes(whole, "cat"), ("effect", "whole"))
    check(level, levels(part), levels(whole), ("effect", "whole"))


def test_no_controls(effects):
    """Without controls there are no tables of them."""
    assert null_table(effects, [None] * 3) is part_table(effects, [None] * 3) is None


@pytest.mark.parametrize(
    ("lacks", "words"),
    [("", ("A", "cat", "a", "bobcat")), ("cat", ("A", "a", "bobcat")), ("a", ("cat", "bobcat"))],
)
def test_leak(effects, lacks, words):
    """What is left is held against the pair of the same seed, on words both have equally often."""
    there, left = effects[0].pairs, effects[2].pairs
    prompt = there[0].prompt
    terms = tuple(
        replace(term, text="dog") if term.text == lacks else term for term in left[0].terms
    )
    without = [
        replace(pair, prompt="without", base=replace(pair.base, terms=terms)) for pair in left[::-1]
    ]
    table = leak_table({"a": (there, without)}, {prompt: "without"}, ["cat", "eyes"])
    level, moved = make_frame(table).to_dict("records")
    check(level, levels(left), levels(there), ("without", "with"))
    sums = [sum(np.abs(changes(made, word)) for word in words) for made in (left, there)]
    check(moved, *sums, ("without", "with"))
    assert (moved["measure"], moved["trigger"]) == ("moved", "cat, eyes")
