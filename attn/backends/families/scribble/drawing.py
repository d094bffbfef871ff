"""Read a drawing, whatever its size, mode and polarity, as the strokes that a model is given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from attn.backends.families.scribble.levels import brightness, read_colours
from attn.backends.families.scribble.strokes import (
    FAINTEST,
    FEW,
    Ground,
    Strokes,
    find_edges,
    find_strokes,
    measure_ink,
)
from attn.errors import RequestError, UsageError
from attn.files.images import read_content
from attn.schema import SKETCH_GROUND
from attn.wording import percent

Fit = Literal["pad", "stretch"]


MUCH = 0.5
"""Share of the picture beyond which strokes are probably the ground."""
THINNEST = 8
"""Pixels of the drawing's shorter side in the picture: one latent pixel."""
OTHER_SHAPE = 0.02
"""Relative difference of aspect ratios that is worth a word."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A drawing that was read.

    Attributes:
        path: the file.
        sha256: of the file.
        strokes: (row, column) of the drawing's own size; True where a stroke is.
        ground: `light` if the strokes are darker than what they are drawn on, else `dark`.
        origin: how that was known: by looking, from the user, or because edges were looked for.
        lost: part of all that clearly differs from the ground that is no stroke, 0 to 1.
    """

    path: Path
    sha256: str
    strokes: Strokes
    ground: Literal["light", "dark"]
    origin: Literal["detected", "told", "edges"]
    lost: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.strokes.shape
        return width, height


def read_sketch(path: str | Path, ground: Ground = "auto", *, edges: bool = False) -> Sketch:
    """Read a drawing; the same file is read once.

    Transparent pixels are given the colour, white or black, that the opaque ones differ most from.
    The ground is the (lower) median of the outermost pixels in every channel. What counts is the
    channel in which a pixel differs most from it: a stroke differs by more than half as much as the
    pixel that differs most, or by more than the levels between the ground and fainter strokes.

    Args:
        path: a picture in a format that Pillow reads.
        ground: what the strokes are drawn on; `auto` looks.
        edges: the picture is a photo, of which Canny's edges are the strokes.

    Raises:
        UsageError: no such file, no picture, no numbers in it, or several in one.
        RequestError: there is no stroke in it.
    """
    if not str(path):
        raise UsageError(
            "sketch: no file is named; give one, or none for the model without a drawing"
        )
    file = Path(path).expanduser()
    return _read(file, hashlib.sha256(read_content(file)).hexdigest(), ground, edges)


def fit_size(sketch: Sketch, width: int, height: int, fit: Fit) -> tuple[tuple[int, int], str]:
    """Return how large the drawing is in a picture, before any pixel of that is there.

    Args:
        sketch: from `read_sketch`.
        width: of the picture in pixels.
        height: of the picture in pixels.
        fit: `pad` keeps the drawing's proportions, in the middle; `stretch` does not.

    Returns:
        its width and height in pixels, and what the user should know, or nothing.

    Raises:
        RequestError: the drawing is so long that next to nothing of it would be left.
    """
    wide, high = sketch.size
    scale = min(width / wide, height / high)
    inner = (round(wide * scale), round(high * scale)) if fit == "pad" else (width, height)
    if min(inner) < min(THINNEST, width, height):
        raise RequestError(
            f"the sketch {sketch.path} is {wide}x{high}: inside {width}x{height} it would be "
            f"{inner[0]}x{inner[1]} pixels; crop it, ask for another --size, or stretch it with "
            "--set fit=stretch"
        )
    if abs(wide / high * height / width - 1) <= OTHER_SHAPE:
        return inner, ""
    how = "padded" if fit == "pad" else "stretched"
    other = "stretch" if fit == "pad" else "pad"
    return inner, (
        f"the sketch is {wide}x{high}, the picture {width}x{height}: it is {how} to its shape "
        f"(--set fit={other} for the other way, or give a --size of the sketch's shape)"
    )


def fit_strokes(sketch: Sketch, width: int, height: int, fit: Fit) -> Strokes:
    """Lay the strokes out in a picture (row, column); none vanishes by shrinking.

    See `fit_size`.
    """
    (wide, high), _ = fit_size(sketch, width, height, fit)
    placed = np.zeros((height, width), np.bool_)
    top, left = (height - high) // 2, (width - wide) // 2
    placed[top : top + high, left : left + wide] = _resized(sketch.strokes, wide, high)
    return placed


def describe(sketch: Sketch) -> str:
    """Describe a drawing."""
    share = float(sketch.strokes.mean())
    tone = other = "dark" if sketch.ground == "light" else "light"
    how = {
        "detected": f"detected; --set ground={other} for the other way round",
        "told": "as told",
        "edges": "edges of the photo by Canny",
    }[sketch.origin]
    text = (
        f"sketch: {tone} strokes on {sketch.ground} ground, {percent(share)} of the picture ({how})"
    )
    if share > MUCH:
        text += "; more strokes than ground: are they the wrong way round?"
    if sketch.lost > FEW:
        text += (
            f"; {percent(sketch.lost)} of what differs from the ground is left out, because it is "
            "faint beside the strokes: draw it stronger if it belongs to them"
        )
    return text


def as_image(strokes: Strokes, *, dark: bool = False) -> Image.Image:
    """Return strokes as an RGB picture, white on black, or black on white if `dark`.

    Its `info` says what they are drawn on.
    """
    pixels = np.where(strokes != dark, np.uint8(255), np.uint8(0))
    image = Image.fromarray(pixels).convert("RGB")
    image.info[SKETCH_GROUND] = "light" if dark else "dark"
    return image


@lru_cache(maxsize=8)
def _read(path: Path, sha256: str, ground: Ground, edges: bool) -> Sketch:
    colours = read_colours(path)
    if edges:
        colours = find_edges(path, brightness(colours))[..., None]
    expected: Ground = "dark" if edges else ground
    ink = measure_ink(colours, expected)
    grey = brightness(colours)
    spread = float(np.ptp(colours, axis=(0, 1)).max())
    del colours  # the largest array here, which the strokes no longer need
    if spread < FAINTEST:
        shades = f"differ by at most {spread:.0f} of 255 levels" if spread else "are alike"
        raise RequestError(
            f"the sketch {path} is empty: its {grey.shape[1]}x{grey.shape[0]} pixels {shades}; "
            f"expected strokes that differ from their ground by {FAINTEST} levels or more"
        )
    strokes, lost = find_strokes(ink)
    if strokes.all():
        raise RequestError(
            f"the sketch {path} has no {expected} ground: its {grey.shape[1]}x{grey.shape[0]} "
            f"pixels have grey levels {grey.min():.0f} to {grey.max():.0f}, which are all strokes "
            "on it; leave --set ground out, or give the other one"
        )
    darker = float(grey[strokes].mean()) < float(grey[~strokes].mean())
    origin: Literal["detected", "told", "edges"] = "detected" if ground == "auto" else "told"
    ground_of_strokes: Literal["light", "dark"] = "light" if darker else "dark"
    return Sketch(path, sha256, strokes, ground_of_strokes, "edges" if edges else origin, lost)


def _resized(strokes: Strokes, width: int, height: int) -> Strokes:
    """Shrink so that a cell with any stroke is a stroke; enlarge by repeating pixels."""
    for axis, length in enumerate((height, width)):
        first = np.arange(length) * strokes.shape[axis] // length
        strokes = np.logical_or.reduceat(strokes, first, axis=axis)
    return strokes
