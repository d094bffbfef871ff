"""Which colour a word has: the same one in all figures that one command makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attn.viz.lines import DASHES, Look
from attn.words import fold

WORDS = (
    "#c8394f", "#2f6f9f", "#d98e04", "#5b9a72", "#b5179e", "#00b4d8",
    "#8c5a2b", "#7a7f00", "#f26b21", "#004d40", "#e36397", "#1b998b",
    "#1d6fe0", "#5f0f40", "#a98467", "#386641", "#a44a3f", "#86b6d9",
    "#d9a6a0", "#a8c686", "#f2d16b", "#94d2bd", "#ff9eb5", "#b7a99a",
)  # fmt: skip
"""Colours of words, in the order of the prompt; those of the first ones are seen as thin lines.

None is violet or a dark grey, which are the colours of variants and baselines."""
PLAIN = 8
"""So many colours have whole lines; those of the next ones are dashed, and so on."""
OTHERS = "#d5d8dc"
"""Colour of the words for which no colour is left."""


def colour_words(labels: Sequence[str], vocabulary: Sequence[str] = ()) -> list[str]:
    """Return the colour of each word.

    Args:
        labels: of the words of one figure.
        vocabulary: folded labels of all words that figures of this command may show, in order: the
            first ones have the colours of their places. Other words have those that are left, in
            their order here.
    """
    by_word = dict(zip(vocabulary, WORDS, strict=False))
    kept = {by_word[key] for key in map(fold, labels) if key in by_word}
    left = iter([colour for colour in WORDS if colour not in kept])
    return [by_word.get(fold(label)) or next(left, OTHERS) for label in labels]


def word_looks(labels: Sequence[str], vocabulary: Sequence[str] = ()) -> list[Look]:
    """Return colour and dashes of each word's line; those of equal colour have other dashes.

    Args:
        labels: of the words of one figure; a word of two segments stands there twice.
        vocabulary: as `colour_words` takes it.
    """
    colours, looks, seen = colour_words(labels, vocabulary), list[Look](), Counter[str]()
    for colour in colours:
        place = WORDS.index(colour) // PLAIN if colour in WORDS else 0
        looks.append((colour, DASHES[(place + seen[colour]) % len(DASHES)]))
        seen[colour] += 1
    return looks
