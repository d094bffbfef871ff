"""Short questions with one right answer: what a small language model can learn by heart, or read.

Capitals, colours and sums must be known; questions about a scene are answered by what they say. One
question in eight is held out: its fact and its wording are learned, but never together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal
from zlib import crc32

QuestionKind = Literal["capital", "colour", "sum", "scene"]
KINDS: tuple[QuestionKind, ...] = ("capital", "colour", "sum", "scene")
HELD_OUT = 8
"""One question in so many is held out."""
LARGEST = 12
"""Largest number of a sum."""

_CAPITALS = """
France Paris, Germany Berlin, Italy Rome, Spain Madrid, Portugal Lisbon, Greece Athens,
Austria Vienna, Poland Warsaw, Hungary Budapest, Norway Oslo, Sweden Stockholm, Finland Helsinki,
Denmark Copenhagen, Ireland Dublin, Belgium Brussels, Russia Moscow, Turkey Ankara, Egypt Cairo,
Kenya Nairobi, Morocco Rabat, Japan Tokyo, China Beijing, India Delhi, Thailand Bangkok,
Vietnam Hanoi, Iran Tehran, Iraq Baghdad, Cuba Havana, Peru Lima, Chile Santiago, Canada Ottawa
"""
_COLOURS = """
grass green, snow white, blood red, coal black, milk white, ink black, lemon yellow, banana yellow,
tomato red, sky blue, sea blue, leaf green, carrot orange, pumpkin orange, cherry red, ash gray,
chocolate brown, elephant gray, flamingo pink, frog green, night black, plum purple
"""
CAPITALS: dict[str, str] = dict(pair.split() for pair in _CAPITALS.split(","))
COLOURS: dict[str, str] = dict(pair.split() for pair in _COLOURS.split(","))
SCENE_COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "star", "triangle")

ABOUT_CAPITALS = (
    "What is the capital of {0}?",
    "Which city is the capital of {0}?",
    "Name the capital of {0}.",
    "What do you call the capital of {0}?",
)
ABOUT_COLOURS = (
    "What colour is {0}?",
    "Which colour does {0} have?",
    "Name the colour of {0}.",
    "Tell me the colour of {0}.",
)
ABOUT_SUMS = (
    "What is {0} plus {1}?",
    "How much is {0} plus {1}?",
    "Add {0} and {1}.",
    "What is the sum of {0} and {1}?",
)
SCENES = ("A {0} {1} is on a {2} background.", "On a {2} background is a {0} {1}.")
ABOUT_SCENES = (
    ("What colour is the {1}?", 0),
    ("What shape is {0}?", 1),
    ("What colour is the background?", 2),
)
"""What is asked of colour, shape and background, and which of them is the answer."""


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        kind: what it is about.
        text: of the question.
        answer: the one right answer, a single word.
        clue: the word of the question that decides the answer; of a sum the first number.
    """

    kind: QuestionKind
    text: str
    answer: str
    clue: str

    @property
    def is_held_out(self) -> bool:
        """Whether the model must never see it while it learns."""
        return crc32(self.text.encode()) % HELD_OUT == 0


@cache
def questions(kind: QuestionKind) -> tuple[Question, ...]:
    """Return every question of a kind."""
    return tuple(_MAKERS[kind]())


@cache
def learned(kind: QuestionKind) -> tuple[Question, ...]:
    """Return the questions that a model may learn."""
    return tuple(question for question in questions(kind) if not question.is_held_out)


def held_out(kind: QuestionKind) -> tuple[Question, ...]:
    """Return the questions that only test a model."""
    return tuple(question for question in questions(kind) if question.is_held_out)


@cache
def words() -> tuple[str, ...]:
    """Return every word in questions and answers, in alphabetical order."""
    texts = (f"{question.text} {question.answer}" for kind in KINDS for question in questions(kind))
    return tuple(sorted({word.strip("?.") for text in texts for word in text.split()}))


def _capitals() -> Iterator[Question]:
    for (country, city), wording in product(CAPITALS.items(), ABOUT_CAPITALS):
        yield Question("capital", wording.format(country), city, country)


def _colours() -> Iterator[Question]:
    for (thing, colour), wording in product(COLOURS.items(), ABOUT_COLOURS):
        yield Question("colour", wording.format(thing), colour, thing)


def _sums() -> Iterator[Question]:
    for left, right, wording in product(range(LARGEST + 1), range(LARGEST + 1), ABOUT_SUMS):
        yield Question("sum", wording.format(left, right), str(left + right), str(left))


def _scenes() -> Iterator[Question]:
    for colour, shape, background in product(SCENE_COLOURS, SHAPES, SCENE_COLOURS):
        if colour == background:
            continue
        said = (colour, shape, background)
        for scene, (wording, index) in product(SCENES, ABOUT_SCENES):
            text = f"{scene} {wording}".format(*said)
            yield Question("scene", text, said[index], said[index])


_MAKERS = {"capital": _capitals, "colour": _colours, "sum": _sums, "scene": _scenes}
