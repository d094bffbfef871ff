"""How much images differ, against plain numpy."""

import numpy as np
import pytest

from attn.analysis.compare.images import compare_images, image_interval, mean_difference
from attn.analysis.compare.paired import paired_interval

RNG = np.random.default_rng(3)


def noise(rows=11, columns=13):
    """Return an image."""
    return RNG.integers(0, 256, (rows, columns, 3), np.uint8)


def ssim(base, variant, window):
    """Return the mean of the formula of Wang and others over all windows and channels."""
    first, second = (
        np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (window, window), (0, 1))
        for image in (base, variant)
    )
    means = [image.mean((-2, -1)) for image in (first, second)]
    spread = [image.var((-2, -1), ddof=1) for image in (first, second)]
    count = window**2
    both = (first * second).mean((-2, -1)) - means[0] * means[1]
    item, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * means[0] * means[1] + item) * (2 * both * count / (count - 1) + two)
    below = (means[0] ** 2 + means[1] ** 2 + item) * (spread[0] + spread[1] + two)
    return (above / below).mean()


@pytest.mark.parametrize(("size", "window"), [((11, 13), 7), ((6, 13), 5)])
def test_formulas(size, window):
    """Level and SSIM are those of their definitions, in smaller windows of smaller images."""
    base, variant = noise(*size), noise(*size)
    level, alike = compare_images(base, variant)
    assert level == pytest.approx(np.abs(base.astype(float) - variant.astype(float)).mean())
    assert alike == pytest.approx(ssim(base, variant, window), rel=1e-6)


def test_same():
    """The same picture has level 0 and an SSIM of exactly 1."""
    image = noise()
    assert compare_images(image, image.copy()) == (0.0, 1.0)


def test_tiny():
    """An image too small for any window has a level, and no SSIM."""
    level, alike = compare_images(noise(2, 5), noise(2, 5))
    assert level > 0
    assert np.isnan(alike)


def test_mean_difference():
    """The mean over pairs is taken pixel by pixel; images of other sizes are counted."""
    pairs = [
        (noise(), noise()),
        (noise(), noise()),
        (noise(5, 7), noise(5, 7)),
        (noise(), noise(5)),
    ]
    result = mean_difference(pairs)
    plain = [np.abs(a.astype(float) - b.astype(float)).mean(-1) for a, b in pairs[:2]]
    np.testing.assert_allclose(result.levels, np.mean(plain, 0))
    assert (result.pairs, result.left_out) == (2, 2)
    assert mean_difference([]) is None


@pytest.mark.parametrize("means", [(0.5, 0.99), (254.5, -0.99)])
def test_interval(means):
    """An interval of a mean does not reach to where no mean can be, and is not cut elsewhere."""
    values = np.array(means) + np.array([[-1.0], [1.0], [-0.5], [0.5]]) * [0.5, 0.01]
    low, high = image_interval(values)
    raw_low, raw_high, _ = paired_interval(values)
    np.testing.assert_array_equal(low, np.clip(raw_low, [0, -1], None))
    np.testing.assert_array_equal(high, np.clip(raw_high, None, [255, 1]))
    assert min(raw_low[0], 255 - raw_high[0], 1 - raw_high[1], 1 + raw_low[1]) < 0
