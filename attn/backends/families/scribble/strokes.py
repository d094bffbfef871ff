"""Tell the strokes of a drawing from what they are drawn on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from attn.backends.families.scribble.levels import (
    Colours,
    Grey,
    bands,
)
from attn.errors import RequestError, UsageError

Ground = Literal["auto", "light", "dark"]

Strokes = npt.NDArray[np.bool_]
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
CANNY = (50, 150)
"""Thresholds of Canny's hysteresis, as ScribbleDiffusion has them."""


def measure_ink(colours: Colours, ground: Ground) -> Grey:
    """Return the distance of each pixel from the ground, the largest over the channels."""
    border = np.concatenate([colours[[0, -1]], colours[:, [0, -1]].swapaxes(0, 1)], axis=1)
    # the lower median is the level of a pixel
    median = np.quantile(border.reshape(-1, colours.shape[-1]), 0.5, axis=0, method="lower")
    level = {"auto": median.astype(np.float32), "light": np.float32(255), "dark": np.float32(0)}[
        ground
    ]
    ink = np.empty(colours.shape[:2], np.float32)
    for rows in bands(colours):
        ink[rows] = np.abs(colours[rows] - level).max(-1)
    return ink


def find_strokes(ink: Grey) -> tuple[Strokes, float]:
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


def find_edges(path: Path, grey: Grey) -> npt.NDArray[np.uint8]:
    """Return the edges of a photo by Canny, 255 where one is.

    Raises:
        UsageError: OpenCV is not there.
        RequestError: there are none.
    """
    if find_spec("cv2") is None:
        raise UsageError(
            f"edges of the photo {path} need OpenCV, which is not here: pip install 'attn[sketch]'"
        )
    import cv2  # type: ignore[import-not-found, unused-ignore]

    edges: Any = cv2.Canny(np.rint(grey).astype(np.uint8), *CANNY)
    if not edges.any():
        raise RequestError(f"the photo {path} has no edges: it is too even for Canny {CANNY}")
    return np.asarray(edges, np.uint8)
