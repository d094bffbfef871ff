"""The protocol of ImageNet-Segmentation as ConceptAttention runs it.

Helbling et al. 2025 (https://arxiv.org/abs/2502.04320) and its code, for a map M of a word and the
mask of what the word names, in a picture that has both object and background:

- segmentation  M > the mean of M, on its own grid
- resize        map, segmentation and mask go to 224x224 by nearest neighbour
- accuracy      right pixels / pixels, over all pictures together (micro)
- miou          intersection / union over all pictures together, of the object and of the
                background; the mean of the two
- map           average precision of each picture: M scaled to 0-1 as the score of the object, 1 - M
                as that of the background, all pixels of both in one ranking; mean over pictures

A map that is equal everywhere has no place above its mean: it is all background, and 0.5 in `map`.
Their traps: half of the pixels are above the mean of most maps, and background counts as much as
the object, so that 50 % is no achievement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attn.analysis.numbers import Numbers
from attn.analysis.scores.localise import average_precision, scale
from attn.analysis.scores.regions import HALF, Region
from attn.errors import AnalysisError

SIDE = 224
"""Pixels of a side of the pictures that are compared."""
CHOICES = {
    "threshold": "mean of the map",
    "resize": f"nearest to {SIDE}x{SIDE}",
    "averaging": "micro: sums over all pictures",
    "classes": "background and object",
    "precision": "symmetric: 1 - map is the score of the background",
}
"""What the protocol chooses, which is said with every result."""
MEASURES = ("accuracy", "miou", "map")
COUNTS = 8
"""Numbers that a picture adds to the sums."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over maps, from which `MEASURES` are made.

    Attributes:
        counts: right pixels, pixels, intersection and union of the background, those of the
            object, sum of average precisions, and maps; (…, `COUNTS`).
    """

    counts: Numbers

    def measures(self) -> Numbers:
        """Return (…, measure) in the order of `MEASURES`."""
        right, pixels, *overlaps, precision, maps = np.moveaxis(self.counts, -1, 0)
        outer, outer_union, inner, inner_union = overlaps
        miou = (outer / outer_union + inner / inner_union) / 2
        return np.stack([right / pixels, miou, precision / maps], -1)


def segment(heatmap: ArrayLike, mask: Region) -> Tally:
    """Compare one map with the mask of a picture.

    Args:
        heatmap: (row, column), any scale and grid.
        mask: (row, column) of the picture, of any size.

    Raises:
        AnalysisError: at 224x224 nothing, or everything, is object.
    """
    heat = np.asarray(heatmap, np.float64)
    truth = _nearest(mask, middle=HALF)
    if truth.all() or not truth.any():
        raise AnalysisError(f"at {SIDE}x{SIDE} the mask is empty, or is the whole picture")
    cells = _nearest(np.arange(heat.size).reshape(heat.shape)).ravel()
    counts = np.bincount(cells, minlength=heat.size).astype(np.float64)
    inside = np.bincount(cells, weights=truth.ravel(), minlength=heat.size)
    outside = counts - inside
    marked = (heat > heat.mean()).ravel()
    scaled = scale(heat, flat=HALF).ravel()
    precision = average_precision(
        np.concatenate([1 - scaled, scaled]),
        np.concatenate([outside, inside]),
        np.concatenate([counts, counts]),
    )
    hit, kept = inside[marked].sum(), outside[~marked].sum()
    return Tally(
        np.array(
            [
                hit + kept,
                SIDE**2,
                kept,
                counts[~marked].sum() + outside[marked].sum(),
                hit,
                counts[marked].sum() + inside[~marked].sum(),
                precision,
                1.0,
            ]
        )
    )


def _nearest(values: NDArray[np.generic], *, middle: float = 0.0) -> NDArray[np.generic]:
    """Return an image at `SIDE` by nearest neighbour.

    Args:
        values: (row, column).
        middle: which point of a new pixel counts: 0 its corner, as torch resizes maps, half its
            middle, as Pillow resizes masks.
    """
    rows, columns = (
        np.floor((np.arange(SIDE) + middle) * size / SIDE).astype(np.int64) for size in values.shape
    )
    return values[np.ix_(rows, columns)]
