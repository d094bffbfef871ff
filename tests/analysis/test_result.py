"""Tables as files."""

import numpy as np

from attn.analysis.result import Table


def test_table(tmp_path):
    """Numbers keep nine digits, NaN is an empty cell, text is quoted where it must be."""
    columns = {
        "word": np.array(["a,b", "猫"]),
        "step": np.array([0, 12]),
        "mass": np.array([1 / 3, np.nan]),
    }
    table = Table(columns)
    table.write(tmp_path / "tables" / "words.csv")
    text = (tmp_path / "tables" / "words.csv").read_bytes().decode()
    assert text == 'word,step,mass\n"a,b",0,0.333333333\n猫,12,\n'
    assert len(table) == 2
