"""What a page says of its own colours."""

import numpy as np
import pytest

from attn.viz.overlay import colour_scale, say_dark

GREY = "\ngrey: there are no such heads"


@pytest.mark.parametrize(
    ("bright", "told"),
    [
        (2, "\nabove 15 % of the scale: 2 of 34 heads; the others are dark" + GREY),
        (20, GREY),
        (0, GREY),
    ],
)
def test_dark(bright, told):
    """Where few of many are bright, the page says how many; what is not there is grey."""
    values = np.full(35, 0.01 if bright else 0.0)
    values[:bright], values[-1] = 0.5, np.nan
    assert say_dark(values, colour_scale(values), "heads") == told
    assert say_dark(values[:-1], colour_scale(values), "heads") == told.removesuffix(GREY)
