"""Scenes of the shapes world as pictures, masks and outlines, with smooth edges at any size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from attn.demo.scenes import BACKGROUNDS, COLORS, Scene, Thing

Floats = npt.NDArray[np.float64]
REACH = 1.3
"""No shape reaches further than this many radii from its centre."""
LINE = 1 / 64
"""Width of outlines."""
SQUARE_HALF_SIDE = 0.86
STAR_INNER_RADIUS = 0.5  # of its outer one
TIPS = 5


def render(scene: Scene, size: int) -> np.ndarray:
    """Draw the scene with smooth edges.

    Args:
        scene: what to draw.
        size: pixels per side.

    Returns:
        RGB, uint8, (size, size, 3).
    """
    image = np.empty((size, size, 3))
    image[:] = BACKGROUNDS[scene.content.background]
    for thing in scene.things:
        coverage = np.clip(0.5 - distance(thing, size), 0, 1)[..., None]
        image += coverage * (np.array(COLORS[thing.kind.color]) - image)
    return np.rint(image).astype(np.uint8)


def masks(scene: Scene, size: int) -> np.ndarray:
    """Assign each pixel to the object under its centre.

    Returns:
        Bool, (objects + 1, size, size): the objects in order, then the background. Every pixel is
        in exactly one of them.
    """
    things = [distance(thing, size) < 0 for thing in scene.things]
    return np.stack([*things, ~np.any(things, axis=0)])


def outlines(scene: Scene, size: int) -> npt.NDArray[np.bool_]:
    """Draw the edges of the objects as lines `LINE` wide.

    Returns:
        Bool, (size, size): True where a line is.
    """
    lines = [abs(distance(thing, size)) <= LINE * size / 2 for thing in scene.things]
    return np.asarray(np.any(lines, axis=0))


def distance(thing: Thing, size: int) -> Floats:
    """Measure how far each pixel's centre is from the outline.

    Returns:
        Float64, (size, size), in pixels, negative inside; beyond a corner less than the true
        distance.
    """
    centers = (np.arange(size) + 0.5) / size
    x = (centers[None, :] - thing.center[0]) / thing.radius
    y = (centers[:, None] - thing.center[1]) / thing.radius
    return _OUTLINES[thing.kind.shape](x, y) * thing.radius * size


def _circle(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - 1


def _square(x: Floats, y: Floats) -> Floats:
    return np.maximum(abs(x), abs(y)) - SQUARE_HALF_SIDE


def _triangle(x: Floats, y: Floats) -> Floats:
    """Equal sides, one tip upwards, centroid in the origin."""
    slopes = abs(x) * math.cos(math.pi / 6) - y * math.sin(math.pi / 6)
    return np.maximum(slopes, y) - REACH / 2


def _star(x: Floats, y: Floats) -> Floats:
    """Five tips, one upwards: ten mirrored copies of the edge between a tip and an inner corner."""
    sector = 2 * math.pi / TIPS
    angle = abs((np.arctan2(x, -y) + sector / 2) % sector - sector / 2)
    radius = np.hypot(x, y)
    run = STAR_INNER_RADIUS * math.cos(sector / 2) - 1  # of the edge, towards the centre
    rise = STAR_INNER_RADIUS * math.sin(sector / 2)
    across = (radius * np.cos(angle) - REACH) * rise - radius * np.sin(angle) * run
    return across / math.hypot(run, rise)


_OUTLINES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
}
