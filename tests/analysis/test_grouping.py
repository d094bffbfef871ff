"""Rows of equal keys, against pandas."""

import numpy as np
import pandas as pd

from attn.analysis.grouping import group_means, group_sums, largest_first, matching, table_rows

TABLE = {
    "word": np.array(["cat", "a", "cat", "a", "red"], object),
    "layer": np.array([3, 3, 3, 5, 5]),
    "mass": np.array([0.25, np.nan, 0.5, 0.125, np.nan]),
}


def test_groups():
    """Groups are in the order of their first row, and what is missing does not count."""
    groups = pd.DataFrame(TABLE).groupby(["word", "layer"], sort=False)["mass"]
    rows = group_means(TABLE, ["word", "layer"], ["mass"])
    assert [(row["word"], row["layer"]) for row in rows] == list(groups.groups)
    np.testing.assert_array_equal([row["mass"] for row in rows], groups.mean())
    assert group_sums(TABLE, "word", "mass") == {"cat": 0.75, "a": 0.125, "red": 0.0}


def test_rows():
    """Rows are chosen by their cells, and ordered with what is missing last."""
    assert table_rows(matching(TABLE, word="a", layer=5)) == [
        {"word": "a", "layer": 5, "mass": 0.125}
    ]
    ordered = largest_first(table_rows(TABLE), "mass")
    assert [row["word"] for row in ordered] == ["cat", "cat", "a", "a", "red"]
