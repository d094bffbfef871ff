"""The strokes of a drawing: in pixels, on the grid of the maps, and what they surround."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.reading import regrid
from attn.errors import TraceError
from attn.files.images import UndecodableImageError, decode_image
from attn.schema import SKETCH, SKETCH_GROUND
from attn.shapes import Region, Strokes

if TYPE_CHECKING:
    from attn.trace.trace import Trace

WIDEST = 0.1
"""Part of the shorter side beyond which a stroke is an area, whose middle says little."""


@dataclass(frozen=True)
class Drawn:
    """A sketch on a grid of cells.

    Attributes:
        strokes: part of each cell that strokes cover, (row, column).
        inside: part of each cell that strokes surround.
        distance: from each cell to the nearest with a stroke, in cells.
    """

    strokes: Region
    inside: Region
    distance: Region


def read_strokes(trace: Trace) -> Strokes:
    """Return a mask of the strokes, bool (row, column) in pixels.

    Raises:
        TraceError: there is no such file, or it is no picture.
    """
    if SKETCH not in trace.manifest.outputs:
        raise TraceError(f"could not read the sketch of {trace.folder}: the trace has none")
    try:
        image = decode_image(trace.output(SKETCH))
    except UndecodableImageError as exc:
        raise TraceError(f"could not read the sketch of {trace.folder}: {exc}") from exc
    is_white = np.asarray(image.convert("L")) > 127  # noqa: PLR2004 - half of white
    return np.asarray(is_white != (image.info.get(SKETCH_GROUND) == "light"))


def lay_out(pixels: Strokes, grid: tuple[int, int]) -> Drawn:
    """Return a sketch on a grid of cells.

    Args:
        pixels: True where a stroke is, (row, column).
        grid: rows and columns of cells.
    """
    from scipy.ndimage import distance_transform_edt

    strokes = regrid(pixels.astype(np.float64), grid)
    inside = regrid(surrounded(pixels).astype(np.float64), grid)
    return Drawn(strokes, inside, np.asarray(distance_transform_edt(strokes == 0)))


def surrounded(pixels: Strokes) -> Strokes:
    """Return a mask of what the strokes enclose: background out of reach of the edge."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(pixels) & ~pixels)


def thin(pixels: Strokes) -> Strokes:
    """Return strokes one pixel wide: their middle, or outlines if some are wider than `WIDEST`."""
    from scipy.ndimage import binary_erosion, distance_transform_edt
    from skimage.morphology import skeletonize

    if 2 * float(distance_transform_edt(pixels).max(initial=0.0)) > WIDEST * min(pixels.shape):
        return np.asarray(pixels & ~binary_erosion(pixels))
    return np.asarray(skeletonize(pixels))
