"""A word has one colour in all figures of one command."""

import pytest

from attn.trace.words.occurrences import list_vocabulary
from attn.viz.words.word_colours import OTHERS, WORDS, colour_words


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
