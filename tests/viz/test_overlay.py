"""What a page says of its own colours."""

import numpy as np
import pytest

from attn.viz.overlay import colour_scale, say_dark


@pytest.mark.parametrize(
    ("bright", "told"),
    [
        (2, "\n2 of 34 heads are above 15 % of the scale; the others are dark"),
        (20, ""),
        (0, ""),
    ],
)
def test_dark(bright, told):
    """Where few of many are bright, the page says how many; what is not there does not count."""
    values = np.full(35, 0.01 if bright else 0.0)
    values[:bright], values[-1] = 0.5, np.nan
    assert say_dark(values, colour_scale(values), "heads") == told
