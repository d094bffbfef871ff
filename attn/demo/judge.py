"""Find the objects in a picture of the shapes world, and compare them with a caption.

Made for pictures that a model painted: colours may be off, edges soft. A pixel is what the nearest
colour says; what is thinner than an edge is no object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attn.demo.rendering import distance
from attn.demo.scenes import BACKGROUNDS, COLORS, SHAPES, Content, ObjectKind, Thing

Mask = npt.NDArray[np.bool_]

EDGE = 1 / 64
"""Half of the width, as a fraction of the picture's side, up to which a region is only an edge."""
SMALLEST_CORE = 0.003
"""Share of the picture that the smallest object covers without its edge."""
SMALLEST_FIT = 0.75
"""Overlap with the best of all shapes below which an object has no shape."""


@dataclass(frozen=True, eq=False)
class PaintedObject:
    """One object in a picture.

    Attributes:
        color: a key of `COLORS`.
        shape: one of `SHAPES`; None if it looks like none of them.
        center: x and y of its centroid, as fractions of the picture's side.
        fit: intersection over union with the ideal shape, 0–1.
        mask: its pixels, (row, column).
    """

    color: str
    shape: str | None
    center: tuple[float, float]
    fit: float
    mask: Mask


@dataclass(frozen=True, eq=False)
class Painted:
    """What a picture shows.

    Attributes:
        background: a key of `BACKGROUNDS`.
        objects: largest first.
    """

    background: str
    objects: tuple[PaintedObject, ...]


@dataclass(frozen=True)
class Verdict:
    """What a picture has right of what was asked for.

    Attributes:
        background: the colour of the background.
        number: of objects.
        colors: for each object that was asked for, whether there is one of its colour.
        shapes: for each object that was asked for, whether the one of its colour has its shape.
        relation: whether the objects of the two colours are placed as asked; None for one object.
    """

    background: bool
    number: bool
    colors: tuple[bool, ...]
    shapes: tuple[bool, ...]
    relation: bool | None

    @property
    def is_complete(self) -> bool:
        """Whether everything is right."""
        return all((self.background, self.number, *self.shapes, self.relation is not False))


def find(picture: np.ndarray) -> Painted:
    """Find background and objects.

    Args:
        picture: RGB, uint8, (size, size, 3).
    """
    names = [*BACKGROUNDS, *COLORS]
    nearest = _nearest(picture, names)
    counts = {name: int(np.sum(nearest == names.index(name))) for name in BACKGROUNDS}
    background = max(counts, key=lambda name: counts[name])
    cores = {name: _cores(nearest == names.index(name)) for name in COLORS}
    present = [background, *(name for name in COLORS if cores[name])]
    nearest = _nearest(picture, present)
    objects = [
        _describe(color, _grow(core, nearest == present.index(color)))
        for color in present[1:]
        for core in cores[color]
    ]
    return Painted(background, tuple(sorted(objects, key=lambda it: -int(it.mask.sum()))))


def agreement(content: Content, picture: Painted) -> Verdict:
    """Compare what a caption says with what was found.

    Args:
        content: what was asked for.
        picture: see `find`.
    """
    matches = [match(kind, picture) for kind in content.kinds]
    return Verdict(
        background=picture.background == content.background,
        number=len(picture.objects) == len(content.kinds),
        colors=tuple(result is not None for result in matches),
        shapes=tuple(
            result is not None and result.shape == kind.shape
            for kind, result in zip(content.kinds, matches, strict=True)
        ),
        relation=None if content.relation is None else _is_related(matches, content.relation),
    )


def match(kind: ObjectKind, picture: Painted) -> PaintedObject | None:
    """Pick the largest object of a kind's colour, whatever its shape; None if there is none."""
    return next((result for result in picture.objects if result.color == kind.color), None)


def relation(first: PaintedObject, second: PaintedObject) -> str:
    """Say where `first` is, seen from `second`, along the axis in which they differ more."""
    x, y = (a - b for a, b in zip(first.center, second.center, strict=True))
    if abs(x) > abs(y):
        return "left of" if x < 0 else "right of"
    return "above" if y < 0 else "below"


def _nearest(picture: np.ndarray, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """For every pixel, the index of the nearest of the named colours."""
    palette = np.array([(BACKGROUNDS | COLORS)[name] for name in names], np.float32)
    distances = np.stack([np.square(picture - color).sum(-1) for color in palette])
    nearest: npt.NDArray[np.intp] = distances.argmin(axis=0)
    return nearest


def _cores(mask: Mask) -> list[Mask]:
    """Connected regions of `mask` that are more than an edge, without their own edges."""
    size = len(mask)
    inner = ndimage.binary_erosion(mask, iterations=max(1, round(EDGE * size)))
    labels, count = ndimage.label(inner)
    regions = (labels == number for number in range(1, count + 1))
    return [region for region in regions if region.sum() >= SMALLEST_CORE * size**2]


def _grow(seed: Mask, mask: Mask) -> Mask:
    """All pixels of `mask` that are connected with `seed`, and `seed` itself."""
    return np.asarray(ndimage.binary_propagation(seed, mask=seed | mask))


def _describe(color: str, mask: Mask) -> PaintedObject:
    rows, columns = np.nonzero(mask)
    size = len(mask)
    center = (float(columns.mean() + 0.5) / size, float(rows.mean() + 0.5) / size)
    area = len(rows) / size**2
    fits = {
        shape: _fit(Thing(ObjectKind(color, shape), center, _radius(shape, area)), mask)
        for shape in SHAPES
    }
    shape = max(fits, key=lambda name: fits[name])
    return PaintedObject(
        color, shape if fits[shape] >= SMALLEST_FIT else None, center, fits[shape], mask
    )


def _fit(thing: Thing, mask: Mask) -> float:
    """Intersection over union of an ideal object with a mask."""
    ideal = distance(thing, len(mask)) < 0
    return float((ideal & mask).sum() / (ideal | mask).sum())


def _radius(shape: str, area: float) -> float:
    """Radius at which a shape covers a share `area` of the picture."""
    return math.sqrt(area / _unit_area(shape))


@cache
def _unit_area(shape: str) -> float:
    """Area of the shape with radius 1, counted in pixels."""
    size, radius = 512, 0.3
    mask = distance(Thing(ObjectKind("", shape), (0.5, 0.5), radius), size) < 0
    return float(mask.mean() / radius**2)


def _is_related(matches: Sequence[PaintedObject | None], asked: str) -> bool:
    first, second = matches
    return first is not None and second is not None and relation(first, second) == asked
