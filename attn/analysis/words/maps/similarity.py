"""How alike two maps of one word are, and how far the word has moved.

Definitions, for the maps A (base) and B (variant) on one grid of N places, with a = A/ΣA, b = B/ΣB:

- correlation  Pearson's r of A and B over all places, -1 to 1; unknown if one of them is constant.
- divergence   Jensen-Shannon divergence of a and b in bits, 0 (equal) to 1 (nowhere both):
               ½ Σ a log₂(a/m) + ½ Σ b log₂(b/m) with m = (a + b)/2. Lin 1991, IEEE Transactions on
               Information Theory 37.
- iou          places in both top areas / places in either, 0 to 1. The top area is the
               ⌈N · `TOP`⌉ places of largest value; of equal ones those that come first.
- shift        of the centre of mass Σ place · a, in fractions of the picture: `shift_down` of its
               height, `shift_right` of its width (negative is up, left), and `distance` with the
               width as the unit of both, so that it is a length on the picture.
"""

from __future__ import annotations

import math

import numpy as np

from attn.analysis.numbers import Numbers
from attn.shapes import GridMaps

TOP = 0.2
MEASURES = ("correlation", "divergence", "iou", "shift_down", "shift_right", "distance")


def compare_maps(base: GridMaps, variant: GridMaps, aspect: float) -> Numbers:
    """Return the numbers of `MEASURES` for pairs of maps.

    Args:
        base: (…, row, column), not negative.
        variant: likewise, of the same shape.
        aspect: height of the picture divided by its width.

    Returns:
        (…, measure); NaN for maps that are NaN.
    """
    before, after = (maps.reshape(*maps.shape[:-2], -1) for maps in (base, variant))
    down, right = (centre(variant) - centre(base)).transpose(-1, *range(base.ndim - 2))
    distance = np.hypot(down * aspect, right)
    numbers = correlation(before, after), divergence(before, after), overlap(before, after)
    return np.asarray(np.stack([*numbers, down, right, distance], -1))


def correlation(base: Numbers, variant: Numbers) -> Numbers:
    """Return Pearson's r along the last axis."""
    first, second = (maps - maps.mean(-1, keepdims=True) for maps in (base, variant))
    below = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    above = (first * second).sum(-1)
    # rounding gives a constant map a spread of its own
    varies = [(maps != maps[..., :1]).any(-1) for maps in (base, variant)]
    is_defined = varies[0] & varies[1] & (below > 0)
    ratio: Numbers = np.divide(above, below, out=np.full_like(above, np.nan), where=is_defined)
    return ratio


def divergence(base: Numbers, variant: Numbers) -> Numbers:
    """Return the Jensen-Shannon divergence along the last axis, in bits."""
    first, second = (_normalised(maps) for maps in (base, variant))
    middle = (first + second) / 2
    return np.asarray((_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2)


def overlap(base: Numbers, variant: Numbers) -> Numbers:
    """Return the IoU of the top areas along the last axis."""
    first, second = (_top(maps) for maps in (base, variant))
    iou = (first & second).sum(-1) / (first | second).sum(-1)
    return np.asarray(np.where(np.isnan(base + variant).any(-1), np.nan, iou))


def centre(maps: GridMaps) -> Numbers:
    """Return the centre of mass, (…, 2): down and right from the upper left, 0 to 1."""
    rows, columns = ((np.arange(size) + 0.5) / size for size in maps.shape[-2:])
    total = maps.sum((-2, -1))
    sums = np.stack([(maps.sum(-1) @ rows), (maps.sum(-2) @ columns)], -1)
    blank = np.full_like(sums, np.nan)
    centres: Numbers = np.divide(sums, total[..., None], out=blank, where=total[..., None] > 0)
    return centres


def _normalised(maps: Numbers) -> Numbers:
    total = maps.sum(-1, keepdims=True)
    parts: Numbers = np.divide(maps, total, out=np.full_like(maps, np.nan), where=total > 0)
    return parts


def _relative_entropy(maps: Numbers, middle: Numbers) -> Numbers:
    """Return Σ a log₂(a/m) along the last axis; a place without a adds nothing."""
    ratio = np.divide(maps, middle, out=np.ones_like(maps), where=maps != 0)
    return np.asarray((maps * np.log2(ratio)).sum(-1))


def _top(maps: Numbers) -> np.ndarray:
    """Mark the places of the top area."""
    count = math.ceil(TOP * maps.shape[-1])
    order = np.argsort(-maps, axis=-1, kind="stable")[..., :count]
    marked = np.zeros(maps.shape, bool)
    np.put_along_axis(marked, order, True, axis=-1)
    return marked
