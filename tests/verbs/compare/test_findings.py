"""What is computed of a comparison before anything is written."""

import numpy as np
import pytest

from attn.analysis.tables import make_table
from attn.verbs.compare.findings import _with_places

PLACES = {"a:0.5": ("scale", 0.5), "a:2": ("scale", 2.0), "a@mid:2": ("scale", np.nan)}


@pytest.mark.parametrize("owner", ["variant_name", "whole_name"])
def test_tables_of_controls_in_a_sweep(owner):
    """Each row of a control has the scale of the variant that it is of; elsewhere none has one."""
    names = {"variant_name": ["a@mid:2", "a:0.5"], "n": [3, 5]} | {owner: ["a:2", "a:0.5"]}
    table = make_table(names)
    assert _with_places(table, PLACES)["scale"].tolist() == [2.0, 0.5]
    assert _with_places(table, {}) is table
