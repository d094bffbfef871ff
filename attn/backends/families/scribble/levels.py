"""A picture of any kind as grey or colour levels, upright and without transparency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from attn.errors import UsageError
from attn.files.images import read_drawing

Colours = npt.NDArray[np.uint8 | np.float32]
"""Levels 0 to 255: row, column, channel; grey pictures have one. Whole levels are uint8."""
Grey = npt.NDArray[np.float32]
BAND = 2**20
"""Pixels that are computed with at a time: a whole picture of float32 colours is large."""
LUMA = np.array([19595, 38470, 7471], np.float32) / 2**16
"""Parts of red, green and blue in brightness (ITU-R BT.601), as Pillow rounds them."""


def brightness(colours: Colours) -> Grey:
    """Return the brightness of each pixel, 0 to 255."""
    grey = np.empty(colours.shape[:2], np.float32)
    for rows in bands(colours):
        grey[rows] = colours[rows] @ LUMA if colours.shape[-1] > 1 else colours[rows, :, 0]
    return grey


def bands(colours: Colours) -> Iterator[slice]:
    """Yield the rows of a picture, some at a time."""
    height, width = colours.shape[:2]
    step = max(BAND // width, 1)
    return (slice(start, start + step) for start in range(0, height, step))


def read_colours(path: Path) -> Colours:
    """Return a picture's levels, upright and without transparency.

    Raises:
        UsageError: it is no picture, or its pixels are no numbers.
    """
    return _levels(path, ImageOps.exif_transpose(read_drawing(path)))


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
    grey = np.average(brightness(colours), weights=alpha[..., 0] / np.float32(255))
    below = 255.0 if grey < 128 else 0.0  # noqa: PLR2004 - mid-grey
    levels = np.empty(colours.shape, np.float32)
    for rows in bands(colours):
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
