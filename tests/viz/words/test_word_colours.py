"""A word has one colour in all figures of one command."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from attn.trace.words.occurrences import list_vocabulary
from attn.viz.compare.comparison_scene import BASE, RANDOM, VARIANTS
from attn.viz.words.word_colours import OTHERS, WORDS, colour_words, word_looks


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (["a red cat", "a red cat", "the Cat by a blue sea"], ("red", "cat", "blue", "sea")),
        (["red cat, red sea"], ("red (1)", "cat", "red (2)", "sea")),
        ([f"word{number}" for number in range(50)], tuple(f"word{n}" for n in range(40))),
    ],
)
def test_vocabulary(prompts, words):
    """The words of all prompts that name something are listed once, in order, up to a number."""
    assert list_vocabulary(prompts) == words


def test_colours_of_a_vocabulary():
    """Words of a vocabulary keep the colours of their places, whichever of them a figure has."""
    every = ("red", "square", "cat")
    assert colour_words(["Cat", "red"], every) == [WORDS[2], WORDS[0]]
    assert colour_words(["dog", "cat", "sea"], every) == [WORDS[0], WORDS[2], WORDS[1]]


def test_no_colour_is_left():
    """No two words of a figure share a colour; those beyond the last one are called others."""
    labels = [f"word{number}" for number in range(len(WORDS) + 2)]
    colours = colour_words(labels)
    assert len(set(colours[: len(WORDS)])) == len(WORDS)
    assert colours[len(WORDS) :] == [OTHERS] * 2


def test_lines_have_the_colours_of_areas():
    """A word's line has the word's colour; lines of equal colour are told apart by their dashes."""
    every = tuple(f"word{number}" for number in range(11))
    labels = ["word10", "word0", "word0"]
    looks = word_looks(labels, every)
    assert [colour for colour, _ in looks] == colour_words(labels, every)
    assert [dashes for _, dashes in looks] == ["--", "-", "--"]


def luminance(colour):
    """Return the relative luminance of a colour, after WCAG 2."""
    levels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(levels <= 0.03928, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_first_colours_are_seen_as_lines():
    """The first twelve words' colours stand out from white paper as thin lines."""
    assert min(1.05 / (luminance(colour) + 0.05) for colour in WORDS[:12]) > 2.4


def test_no_word_has_the_colour_of_a_variant():
    """In figures of one command a colour is that of a word, of a variant or of a baseline."""
    others = [np.array(to_rgb(colour)) for colour in (*VARIANTS, BASE, RANDOM)]
    apart = [abs(np.array(to_rgb(word)) - other).max() for word in WORDS for other in others]
    assert min(apart) > 0.15
