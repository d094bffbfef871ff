"""How far the edges of an image are from the strokes that it was drawn over.

Definitions, for one image:

- stroke   the pixels of strokes one pixel wide (`strokes.thin`).
- edge     the pixels that Canny's detector finds in red, green or blue, with Gaussian smoothing of
           1/`SMOOTH` of the shorter side, at least one pixel; specks of `SPECK` pixels are none.
- distance from a pixel to the nearest edge, Euclidean, in pixels.
- followed part of the stroke's pixels with a distance of at most `NEAR` of the shorter side.
- anywhere the same part of all pixels of the image: what strokes have that lie anywhere.

Sources: Canny 1986, by scikit-image; `followed` and `anywhere` are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attn.analysis.sketch.strokes import thin
from attn.analysis.tables import Table, make_table
from attn.shapes import Image, Points, Strokes
from attn.wording import percent

SMOOTH = 128
SPECK = 8
"""Connected pixels that are no line yet."""
NEAR = 0.02
"""Part of the shorter side within which an edge follows a stroke."""


@dataclass(frozen=True)
class Deviation:
    """What lies between a drawing's strokes and an image's edges.

    Attributes:
        points: of each stroke's pixel: its row and column, and those of the nearest edge.
        distance: between the two, in pixels.
        followed: see the module, 0 to 1.
        anywhere: see the module, 0 to 1.
    """

    points: Points
    distance: NDArray[np.float64]
    followed: float
    anywhere: float


def find_edges(image: Image) -> Strokes:
    """Return a mask of the edges of an image (row, column, channel)."""
    from skimage.feature import canny
    from skimage.morphology import remove_small_objects

    sigma = max(1.0, min(image.shape[:2]) / SMOOTH)
    channels = np.moveaxis(image / 255.0, -1, 0)
    edges = np.any([canny(channel, sigma=sigma) for channel in channels], axis=0)
    return np.asarray(remove_small_objects(edges, max_size=SPECK, connectivity=2))


def measure_deviation(pixels: Strokes, image: Image) -> Deviation | None:
    """Measure how far each stroke is from the nearest edge; None if the image has no edges.

    Args:
        pixels: True where a stroke is, (row, column).
        image: of the same height and width.
    """
    from scipy.ndimage import distance_transform_edt

    edges = find_edges(image)
    if not edges.any():
        return None
    distances, nearest = distance_transform_edt(~edges, return_indices=True)
    at = np.nonzero(thin(pixels))
    limit = NEAR * min(pixels.shape)
    points = np.stack([*at, *nearest[:, *at]], -1).astype(np.float64)
    along = np.asarray(distances[at], np.float64)
    return Deviation(
        points, along, float((along <= limit).mean()), float((distances <= limit).mean())
    )


def say_deviation(deviation: Deviation | None) -> str:
    """Say in one sentence how well the image follows the drawing."""
    if deviation is None:
        return "The image has no edges, so none follows the strokes"
    return (
        f"{percent(deviation.followed)} of the strokes have an edge of the image within "
        f"{percent(NEAR)} of its side, as have {percent(deviation.anywhere)} of all places"
    )


def tabulate_deviations(deviations: Sequence[Deviation | None]) -> Table:
    """Tabulate each sample's deviation; empty cells where an image has no edges."""
    rows = np.full((len(deviations), 5), np.nan)
    for row, entry in zip(rows, deviations, strict=True):
        if entry is not None:
            median, high = np.quantile(entry.distance, (0.5, 0.9))
            row[:] = len(entry.distance), median, high, entry.followed, entry.anywhere
    names = ("stroke_px", "median_px", "p90_px", "followed", "anywhere")
    columns = dict(zip(names, rows.T, strict=True))
    return make_table({"sample": np.arange(len(rows))} | columns)
