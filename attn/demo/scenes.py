"""The shapes world: one or two coloured shapes on a plain background, with captions.

Lengths and positions are fractions of the picture's side, so that a scene can be drawn at any size;
x grows to the right, y downwards. Every word of a caption is one token of `attn.demo.tokenizers`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "red": (215, 30, 40),
    "orange": (250, 125, 15),
    "yellow": (250, 225, 45),
    "green": (35, 160, 65),
    "blue": (45, 75, 220),
    "purple": (150, 50, 180),
}
BACKGROUNDS: dict[str, Color] = {
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "black": (15, 15, 15),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star")
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")


SINGLE_SHARE = 1 / 3  # of the sampled scenes
HELD_OUT = {1: 12, 2: 288}
"""Captions that training never sees, by their number of objects."""


# Two shapes differ clearly along the axis of their relation, less across it, and never touch.
NEAR = (0.23, 0.29)
FAR = (0.71, 0.77)
ACROSS = (0.34, 0.66)
RADIUS_OF_TWO = (0.13, 0.16)
CENTER_OF_SINGLE = (0.35, 0.65)
RADIUS_OF_SINGLE = (0.17, 0.26)


@dataclass(frozen=True)
class ObjectKind:
    """What a caption says of one object.

    Attributes:
        color: a key of `COLORS`.
        shape: one of `SHAPES`.
    """

    color: str
    shape: str


@dataclass(frozen=True)
class Content:
    """What a caption says of a whole picture.

    Attributes:
        kinds: one or two objects in the order of the caption, different in colour and in shape.
        relation: where the first object is, seen from the second: one of `RELATIONS`; None for one
            object.
        background: a key of `BACKGROUNDS`.
    """

    kinds: tuple[ObjectKind, ...]
    relation: str | None
    background: str


@dataclass(frozen=True)
class Thing:
    """One object in its place.

    Attributes:
        kind: its colour and shape.
        center: x and y of its centroid, 0–1.
        radius: 0–1; a circle's own, and about the size of it for the other shapes.
    """

    kind: ObjectKind
    center: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Scene:
    """A picture to draw.

    Attributes:
        content: what the caption says.
        things: one for each of `content.kinds`.
    """

    content: Content
    things: tuple[Thing, ...]


def contents() -> list[Content]:
    """List everything that a caption can say: 72 with one object, 4320 with two."""
    singles = [
        Content((ObjectKind(color, shape),), None, background)
        for color, shape, background in product(COLORS, SHAPES, BACKGROUNDS)
    ]
    pairs = [
        Content((ObjectKind(*first), ObjectKind(*second)), relation, background)
        for colors, shapes in product(permutations(COLORS, 2), permutations(SHAPES, 2))
        for first, second in [zip(colors, shapes, strict=True)]
        for relation, background in product(RELATIONS, BACKGROUNDS)
    ]
    return singles + pairs


def caption(content: Content) -> str:
    """Describe it: "a red star left of an orange circle on a white background"."""
    objects = f" {content.relation} ".join(
        f"{_article(kind.color)} {kind.color} {kind.shape}" for kind in content.kinds
    )
    return f"{objects} on a {content.background} background"


def read(text: str) -> Content:
    """Undo `caption`.

    Raises:
        KeyError: no scene has this caption.
    """
    return _by_caption()[text]


def is_held_out(content: Content) -> bool:
    """Whether training never sees this caption; the same on every machine."""
    return content in _held_out()


def held_out() -> list[Content]:
    """List the held-out contents in an order that mixes all colours, shapes and relations."""
    return list(_held_out())


def sample(rng: np.random.Generator, *, training: bool = False) -> Scene:
    """Draw a scene at random; the same generator state gives the same scene.

    Args:
        rng: advanced by the draw.
        training: leave out the held-out captions.
    """
    content = _sample_content(rng)
    while training and is_held_out(content):
        content = _sample_content(rng)
    return arrange(content, rng)


def arrange(content: Content, rng: np.random.Generator) -> Scene:
    """Choose places and sizes for `content`, in which its relation holds."""
    if content.relation is None:
        x, y = rng.uniform(*CENTER_OF_SINGLE, size=2)
        centers = [(float(x), float(y))]
        radii = rng.uniform(*RADIUS_OF_SINGLE, size=1)
    else:
        centers = _centers_of_two(content.relation, rng)
        radii = rng.uniform(*RADIUS_OF_TWO, size=2)
    return Scene(
        content,
        tuple(
            Thing(kind, center, float(radius))
            for kind, center, radius in zip(content.kinds, centers, radii, strict=True)
        ),
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


@cache
def _by_caption() -> dict[str, Content]:
    return {caption(content): content for content in contents()}


@cache
def _held_out() -> dict[Content, None]:
    """The first captions of a fixed shuffle, as an ordered set."""
    shuffled = sorted(contents(), key=lambda it: hashlib.sha256(caption(it).encode()).digest())
    removed = {
        it
        for number, count in HELD_OUT.items()
        for it in [it for it in shuffled if len(it.kinds) == number][:count]
    }
    return dict.fromkeys(it for it in shuffled if it in removed)


def _sample_content(rng: np.random.Generator) -> Content:
    number = 1 if rng.random() < SINGLE_SHARE else 2
    colors = rng.choice(list(COLORS), size=number, replace=False)
    shapes = rng.choice(list(SHAPES), size=number, replace=False)
    kinds = (
        ObjectKind(str(color), str(shape)) for color, shape in zip(colors, shapes, strict=True)
    )
    relation = str(rng.choice(RELATIONS)) if number > 1 else None
    return Content(tuple(kinds), relation, str(rng.choice(list(BACKGROUNDS))))


def _centers_of_two(relation: str, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Centres (x, y) of two objects of which the first stands in `relation` to the second."""
    along = [float(rng.uniform(*NEAR)), float(rng.uniform(*FAR))]
    across = [float(offset) for offset in rng.uniform(*ACROSS, size=2)]
    if relation in {"right of", "below"}:
        along.reverse()
    pairs = zip(along, across, strict=True)
    return list(pairs) if relation in {"left of", "right of"} else [(x, y) for y, x in pairs]
