"""How much the generated images of a pair differ.

Definitions, for two images of one size, with channels of 0 to 255:

- level  mean absolute difference over pixels and channels, 0 (the same) to 255.
- ssim   structural similarity, -1 to 1 (the same): the mean over pixels and channels of Wang,
         Bovik, Sheikh and Simoncelli 2004, IEEE Transactions on Image Processing 13, as
         scikit-image computes it, in windows of 7 by 7 pixels (smaller in smaller images).

Intervals of their means are those of `paired`, without what no mean can be: they end at `LOWEST`
and `HIGHEST`, and hold the truth as often as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.analysis.compare.paired import paired_interval
from attn.analysis.images import Pixels, read_image
from attn.analysis.numbers import Numbers
from attn.errors import TraceError
from attn.shapes import Cells, PairCells

if TYPE_CHECKING:
    from attn.trace.trace import Trace

IMAGE_MEASURES = ("level", "ssim")
LOWEST, HIGHEST = (0.0, -1.0), (255.0, 1.0)
VISIBLE = 2.55
"""Levels from which a difference of images is taken for one that is seen: 1 % of 255."""
WINDOW, SMALLEST = 7, 3


@dataclass(frozen=True)
class ImageDifference:
    """The mean over pairs of the absolute difference.

    Attributes:
        levels: (row, column), mean over channels; 0 to 255.
        pairs: number of pairs of images.
        left_out: those of another size than the first pair.
    """

    levels: NDArray[np.float64]
    pairs: int
    left_out: int


def compare_images(base: Pixels, variant: Pixels) -> tuple[float, float]:
    """Return `IMAGE_MEASURES` of two images of one size; NaN where one is too small."""
    level = float(np.abs(base.astype(np.float64) - variant).mean())
    side = min(*base.shape[:2], WINDOW)
    window = side - 1 + side % 2
    if window < SMALLEST:
        return level, float("nan")
    from skimage.metrics import structural_similarity

    ssim = structural_similarity(base, variant, win_size=window, channel_axis=-1, data_range=255)
    return level, float(ssim)


def image_interval(values: PairCells) -> tuple[Cells, Cells]:
    """Return low and high of the mean of each measure; NaN with too few pairs.

    Args:
        values: (pair, measure) of `IMAGE_MEASURES`, or of the first of them.
    """
    low, high, _ = paired_interval(values)
    count = values.shape[1]
    return np.maximum(low, LOWEST[:count]), np.minimum(high, HIGHEST[:count])


def compare_image_pairs(base: Trace, variant: Trace) -> tuple[Numbers | None, str]:
    """Compare the images of two traces, sample by sample.

    Returns:
        (sample, measure) of `IMAGE_MEASURES` and nothing; or None, and why there is none.
    """
    try:
        pairs = list(image_pairs(base, variant))
    except TraceError as error:
        return None, f"images are not compared: {error}"
    if not pairs:
        return None, ""
    sizes = {image.shape for pair in pairs for image in pair}
    if len(sizes) > 1:
        shown = " and ".join(f"{columns}x{rows}" for rows, columns, _ in sorted(sizes))
        return None, f"images are not compared: they are of different sizes ({shown})"
    return np.array([compare_images(*pair) for pair in pairs], np.float64), ""


def image_pairs(base: Trace, variant: Trace) -> Iterable[tuple[Pixels, Pixels]]:
    """Yield the images of two traces, sample by sample; nothing where one has none."""
    for sample in range(base.manifest.samples):
        images = [read_image(trace, sample) for trace in (base, variant)]
        if images[0] is not None and images[1] is not None:
            yield images[0], images[1]


def mean_difference(pairs: Iterable[tuple[Pixels, Pixels]]) -> ImageDifference | None:
    """Return where images differ, or None if there is no pair of one size."""
    total: NDArray[np.float64] | None = None
    count = left_out = 0
    for base, variant in pairs:
        if base.shape != variant.shape or (total is not None and base.shape[:2] != total.shape):
            left_out += 1
            continue
        levels = np.abs(base.astype(np.float64) - variant).mean(-1)
        total = levels if total is None else total + levels
        count += 1
    return None if total is None else ImageDifference(total / count, count, left_out)
