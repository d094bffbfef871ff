"""Intervals of what cuts change."""

import numpy as np
import pytest

from attn.analysis.compare.paired import paired_interval
from attn.verbs.compare.controls.cut_effects import AIMED, LEVEL, effect_rows

IMAGES = [("a cat", seed, 0) for seed in range(5)]


@pytest.mark.parametrize(("measure", "is_cut"), [(LEVEL, True), (AIMED, False)])
def test_what_is_never_below_0(measure, is_cut):
    """An interval of a level ends at 0, as no image differs by less; a difference may go below."""
    values = np.array([0.1, 0.0, 7.0, 0.2, 0.3])
    effects = [{measure: dict(zip(IMAGES, values + more, strict=True))} for more in (3.0, 0.0)]
    (row,) = effect_rows("red cut", ["red"], effects)
    low, high, _ = paired_interval(values[:, np.newaxis])
    assert low[0] < 0
    assert row["random_low"] == (0.0 if is_cut else pytest.approx(low[0]))
    assert row["random_high"] == pytest.approx(high[0])
    assert row["difference_change"] == pytest.approx(3.0)
