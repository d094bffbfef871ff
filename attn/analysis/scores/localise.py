"""How well one map finds a region that is known.

Definitions, for a map H and the true region R on the same grid; all 0 to 1, more is better:

- pointing   1 if the largest value of H lies in R, else 0; of several equal largest values the
             part that lies in R. Zhang et al. 2018 (https://arxiv.org/abs/1608.00507), without
             their tolerance of 15 pixels around R.
- energy     Σ H in R / Σ H: the energy-based pointing game of Score-CAM (Wang et al. 2020,
             https://arxiv.org/abs/1910.01279); H is not below 0.
- iou@T      places in both B and R / places in either, with B = places where H, scaled to 0-1
             between its least and its largest value, is at least T. A constant H marks the whole
             picture.
- precision  average precision of "is in R" ranked by H: Σₙ (recallₙ - recallₙ₋₁) · precisionₙ over
             the distinct values of H, largest first, as scikit-learn defines it.
- daam       the overlap of DAAM (Tang et al. 2023, https://arxiv.org/abs/2210.04885): H resized
             bicubically to the pixels of the mask, scaled to 0-1, B = above 0.4; in both / (in
             either + 1e-8).

What chance gives: a map that is equal everywhere reaches the area of R in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from attn.analysis.numbers import Numbers
from attn.analysis.scores.regions import HALF, Region
from attn.analysis.words.maps.daam import resize
from attn.errors import AnalysisError

THRESHOLDS = (0.3, HALF, 0.7)
DAAM_THRESHOLD = 0.4
"""The threshold of Tang et al. in their main comparison."""
DAAM = "daam"


def score(
    heatmap: ArrayLike, region: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> Mapping[str, float]:
    """Compare a map with the true region: every score but DAAM's, by its name.

    Args:
        heatmap: (row, column), any scale.
        region: (row, column) of booleans, neither empty nor everything.
        thresholds: of `iou`, 0 to 1.

    Raises:
        AnalysisError: shapes differ, the map is not finite, or there is nothing to find.
    """
    heat, truth = np.asarray(heatmap, np.float64), np.asarray(region, bool)
    if heat.shape != truth.shape:
        raise AnalysisError(f"the heatmap is {heat.shape}, the region {truth.shape}: resample one")
    if not np.isfinite(heat).all():
        raise AnalysisError("the heatmap has values that are not numbers")
    if truth.all() or not truth.any():
        raise AnalysisError("the region is empty, or is the whole picture: nothing to be found")
    total = heat.sum()
    scaled = scale(heat, flat=1.0)
    return {
        "pointing": float(truth[heat == heat.max()].mean()),
        "energy": float(heat[truth].sum() / total) if total else float(truth.mean()),
        **{iou_name(at): overlap(scaled >= at, truth) for at in thresholds},
        "precision": average_precision(heat.ravel(), truth.ravel()),
    }


def daam_overlap(heatmap: ArrayLike, mask: Region) -> float:
    """Return DAAM's overlap of a map, on its own grid, with a mask in pixels."""
    heat = np.asarray(heatmap, np.float64)
    shape = (mask.shape[0], mask.shape[1])
    marked = scale(resize(heat[..., np.newaxis], shape)[..., 0], flat=1.0) > DAAM_THRESHOLD
    return float((marked & mask).sum() / ((marked | mask).sum() + 1e-8))


def iou_name(threshold: float) -> str:
    """Return the name of an overlap at a threshold."""
    return f"iou@{threshold:g}"


def scale(heat: Numbers, *, flat: float) -> Numbers:
    """Return a map scaled to 0-1 between its least and its largest value.

    Args:
        heat: the map.
        flat: what a map becomes that is equal everywhere.
    """
    spread = heat.max() - heat.min()
    return (heat - heat.min()) / spread if spread else np.full_like(heat, flat)


def overlap(marked: Region, truth: Region) -> float:
    """Return intersection over union."""
    return float((marked & truth).sum() / (marked | truth).sum())


def average_precision(values: Numbers, hits: ArrayLike, counts: ArrayLike | None = None) -> float:
    """Return the average precision of a ranking; equal values are one threshold.

    Args:
        values: (item,), what is ranked, largest first.
        hits: (item,), how many of each are right; some are.
        counts: (item,), how many each stands for; None is one.
    """
    order = np.argsort(-values, kind="stable")
    right = np.cumsum(np.asarray(hits, np.float64)[order])
    sizes = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    listed = np.cumsum(sizes[order])
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))
    recall, precision = right[last] / right[-1], right[last] / listed[last]
    return float((np.diff(recall, prepend=0.0) * precision).sum())
