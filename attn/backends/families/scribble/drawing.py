"""Read a drawing, whatever its size, mode and polarity, as the strokes that a model is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from attn.errors import RequestError, UsageError
from attn.files.images import (
    DRAWINGS,
    MOST_BYTES,
    UndecodableImageError,
    UnknownFormatError,
    decode_image,
)
from attn.files.outside import read_bytes
from attn.schema import SKETCH_GROUND

Ground = Literal["auto", "light", "dark"]
Fit = Literal["pad", "stretch"]
Strokes = npt.NDArray[np.bool_]
Colours = npt.NDArray[np.uint8 | np.float32]
"""Levels 0 to 255: row, column, channel; grey pictures have one. Whole levels are uint8."""
Grey = npt.NDArray[np.float32]

BAND = 2**20
"""Pixels that are computed with at a time: a whole picture of float32 colours is large."""

FAINTEST = 16
"""Grey levels, of 255, that strokes must at least differ from their ground."""
THRESHOLD = 0.5
"""Share of a stroke's difference from the ground above which a pixel belongs to it."""
CLEAR = 2 * FAINTEST
"""Levels of difference from the ground that nobody overlooks beside stronger strokes."""
SHADOW = 4 * FAINTEST
"""Levels that noise and shadows of a photographed paper seldom reach."""
BIN = 8
"""Levels that are counted together where faint strokes are looked for."""
DEPTH = 4
"""So many times as frequent as a level between it and the ground the level of strokes is."""
FEW = 0.02
"""Part of the strokes that is not worth a word."""
LUMA = np.array([19595, 38470, 7471], np.float32) / 2**16
"""Parts of red, green and blue in brightness (ITU-R BT.601), as Pillow rounds them."""
MUCH = 0.5
"""Share of the picture beyond which strokes are probably the ground."""
THINNEST = 8
"""Pixels of the drawing's shorter side in the picture: one latent pixel."""
OTHER_SHAPE = 0.02
"""Relative difference of aspect ratios that is worth a word."""
CANNY = (50, 150)
"""Thresholds of Canny's hysteresis, as ScribbleDiffusion has them."""


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
    return _read(file, hashlib.sha256(_content(file)).hexdigest(), ground, edges)


def fit_strokes(sketch: Sketch, width: int, height: int, fit: Fit) -> tuple[Strokes, str]:
    """Lay the strokes out in a picture; none vanishes by shrinking.

    Args:
        sketch: from `read_sketch`.
        width: of the picture in pixels.
        height: of the picture in pixels.
        fit: `pad` keeps the drawing's proportions, in the middle; `stretch` does not.

    Returns:
        the strokes (row, column), and what the user should know, or nothing.

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
    drawn = _resized(sketch.strokes, *inner)
    placed = np.zeros((height, width), np.bool_)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    placed[top : top + inner[1], left : left + inner[0]] = drawn
    if abs(wide / high * height / width - 1) <= OTHER_SHAPE:
        return placed, ""
    how = "padded" if fit == "pad" else "stretched"
    other = "stretch" if fit == "pad" else "pad"
    return placed, (
        f"the sketch is {wide}x{high}, the picture {width}x{height}: it is {how} to its shape "
        f"(--set fit={other} for the other way, or give a --size of the sketch's shape)"
    )


def describe(sketch: Sketch) -> str:
    """Describe a drawing."""
    share = float(sketch.strokes.mean())
    tone = other = "dark" if sketch.ground == "light" else "light"
    how = {
        "detected": f"detected; --set ground={other} for the other way round",
        "told": "as told",
        "edges": "edges of the photo by Canny",
    }[sketch.origin]
    text = f"sketch: {tone} strokes on {sketch.ground} ground, {share:.1%} of the picture ({how})"
    if share > MUCH:
        text += "; more strokes than ground: are they the wrong way round?"
    if sketch.lost > FEW:
        text += (
            f"; {sketch.lost:.1%} of what differs from the ground is left out, because it is faint "
            "beside the strokes: draw it stronger if it belongs to them"
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
    colours = _colours(path)
    if edges:
        colours = _canny(path, _brightness(colours))[..., None]
    expected: Ground = "dark" if edges else ground
    ink = _ink(colours, expected)
    grey = _brightness(colours)
    spread = float(np.ptp(colours, axis=(0, 1)).max())
    del colours  # the largest array here, which the strokes no longer need
    if spread < FAINTEST:
        shades = f"differ by at most {spread:.0f} of 255 levels" if spread else "are alike"
        raise RequestError(
            f"the sketch {path} is empty: its {grey.shape[1]}x{grey.shape[0]} pixels {shades}; "
            f"expected strokes that differ from their ground by {FAINTEST} levels or more"
        )
    strokes, lost = _strokes(ink)
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


def _ink(colours: Colours, ground: Ground) -> Grey:
    """Return the distance of each pixel from the ground, the largest over the channels."""
    border = np.concatenate([colours[[0, -1]], colours[:, [0, -1]].swapaxes(0, 1)], axis=1)
    # the lower median is the level of a pixel
    median = np.quantile(border.reshape(-1, colours.shape[-1]), 0.5, axis=0, method="lower")
    level = {"auto": median.astype(np.float32), "light": np.float32(255), "dark": np.float32(0)}[
        ground
    ]
    ink = np.empty(colours.shape[:2], np.float32)
    for rows in _bands(colours):
        ink[rows] = np.abs(colours[rows] - level).max(-1)
    return ink


def _strokes(ink: Grey) -> tuple[Strokes, float]:
    """Return the strokes, and what part of all that is no shadow is none of them.

    Levels between ground and stroke are frequent at the edges of smooth strokes, so what touches
    strong strokes is no sign of faint ones.
    """
    half = THRESHOLD * float(ink.max())
    strong = ink > half
    near = Image.fromarray(strong.astype(np.uint8)).filter(ImageFilter.MaxFilter(3))
    apart = np.asarray(near) == 0
    counts = np.histogram(ink[apart], np.arange(0, half + BIN, BIN))[0]
    least = FEW * strong.sum()
    for level in range(CLEAR // BIN, len(counts)):
        between = counts[level // 2 : level]
        if counts[level] > max(DEPTH * between.min(), least):
            half = BIN * (level // 2 + int(between.argmin()) + 0.5)
            break
    strokes = ink > half
    lost = int((apart & (ink > SHADOW) & ~strokes).sum())
    return strokes, lost / (lost + int(strokes.sum()))


def _brightness(colours: Colours) -> Grey:
    grey = np.empty(colours.shape[:2], np.float32)
    for rows in _bands(colours):
        grey[rows] = colours[rows] @ LUMA if colours.shape[-1] > 1 else colours[rows, :, 0]
    return grey


def _bands(colours: Colours) -> Iterator[slice]:
    """Yield the rows of a picture, some at a time."""
    height, width = colours.shape[:2]
    step = max(BAND // width, 1)
    return (slice(start, start + step) for start in range(0, height, step))


def _content(path: Path) -> bytes:
    return read_bytes(path, limit=MOST_BYTES, error=UsageError, hint="Give a picture as --sketch.")


def _colours(path: Path) -> Colours:
    """Return a picture's levels, upright and without transparency."""
    try:
        return _levels(path, ImageOps.exif_transpose(decode_image(_content(path), DRAWINGS)))
    except UnknownFormatError as exc:
        raise UsageError(
            f"the sketch {path} is no picture that can be read ({exc}); give a PNG or JPEG"
        ) from exc
    except UndecodableImageError as exc:
        raise UsageError(f"the sketch {path} cannot be used: {exc}") from exc


def _levels(path: Path, image: Image.Image) -> Colours:
    if image.mode[0] in "IF":  # 16 bits and more, which Pillow would cut off at 255
        deep = np.array(image, np.float64)
        _refuse_no_numbers(path, deep)
        spread = np.ptp(deep) or 1
        deep -= deep.min()
        deep *= 255
        deep /= spread
        return np.asarray(deep[..., None], np.float32)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    layered = np.asarray(image.convert("RGBA"))
    colours, alpha = layered[..., :3], layered[..., 3:]
    if not alpha.any():
        return np.zeros_like(colours)
    grey = np.average(_brightness(colours), weights=alpha[..., 0] / np.float32(255))
    below = 255.0 if grey < 128 else 0.0  # noqa: PLR2004 - mid-grey
    levels = np.empty(colours.shape, np.float32)
    for rows in _bands(colours):
        opacity = alpha[rows] / np.float32(255)
        levels[rows] = opacity * colours[rows] + (1 - opacity) * below
    return levels


def _refuse_no_numbers(path: Path, levels: npt.NDArray[np.float64]) -> None:
    wrong = int((~np.isfinite(levels)).sum())
    if wrong:
        raise UsageError(
            f"the sketch {path} is no picture that can be read: {wrong} of its {levels.size} "
            "pixels are NaN or infinite; save it as a PNG"
        )


def _canny(path: Path, grey: Grey) -> npt.NDArray[np.uint8]:
    if find_spec("cv2") is None:
        raise UsageError(
            f"edges of the photo {path} need OpenCV, which is not here: pip install 'attn[sketch]'"
        )
    import cv2  # type: ignore[import-not-found, unused-ignore]

    edges: Any = cv2.Canny(np.rint(grey).astype(np.uint8), *CANNY)
    if not edges.any():
        raise RequestError(f"the photo {path} has no edges: it is too even for Canny {CANNY}")
    return np.asarray(edges, np.uint8)


def _resized(strokes: Strokes, width: int, height: int) -> Strokes:
    """Shrink so that a cell with any stroke is a stroke; enlarge by repeating pixels."""
    for axis, length in enumerate((height, width)):
        first = np.arange(length) * strokes.shape[axis] // length
        strokes = np.logical_or.reduceat(strokes, first, axis=axis)
    return strokes
