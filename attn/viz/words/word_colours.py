"""Which colour a word has: the same one in all figures that one command makes."""

from __future__ import annotations

from collections.abc import Sequence

from attn.words import fold

WORDS = (
    "#c8394f", "#2f6f9f", "#e8a838", "#5b9a72", "#7b4b94", "#86b6d9",
    "#d9a6a0", "#4a4e57", "#b0689f", "#a8c686", "#8c5a2b", "#f2d16b",
    "#1b998b", "#f26b21", "#5f0f40", "#94d2bd", "#3c4fc4", "#7a7f00",
    "#ff9eb5", "#00b4d8", "#a98467", "#c9b3e0", "#386641", "#b5179e",
)  # fmt: skip
"""Colours of words, in the order of the prompt."""
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
