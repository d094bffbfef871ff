"""Tables as files, and below each other."""

import csv
import io

import numpy as np
import pytest

from attn.analysis.tables import append_table, label_table, make_table, stack_tables, write_table
from attn.files.safe_text import csv_cell

RNG = np.random.default_rng(0)


def test_table(tmp_path):
    """Numbers keep nine digits, NaN is an empty cell, text is quoted where it must be."""
    columns = {"word": ["a,b", "猫"], "step": [0, 12], "mass": np.array([1 / 3, np.nan])}
    write_table(make_table(columns), tmp_path / "tables" / "words.csv")
    text = (tmp_path / "tables" / "words.csv").read_bytes().decode()
    assert text == 'word,step,mass\n"a,b",0,0.333333333\n猫,12,\n'


def plain(columns):
    """Return a table cell by cell: floats of float columns in nine digits, NaN and None empty."""

    def cell(value, kind):
        if kind == "f":
            return "" if np.isnan(value) else f"{value:.9g}"
        return "" if value is None else csv_cell(value)

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    kinds = [column.dtype.kind for column in columns.values()]
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        writer.writerow(map(cell, row, kinds))
    return stream.getvalue().encode()


COLUMNS = {
    "wide": RNG.normal(size=997) * 10.0 ** RNG.integers(-300, 300, 997),
    "single": np.float32(RNG.random(997)),
    "special": RNG.choice([0.0, -0.0, 1e16, 1e-5, 123456789.0, np.nan, np.inf, -np.inf], 997),
    "whole": RNG.integers(-(2**62), 2**62, 997),
    "flag": RNG.random(997) < 0.5,
    "mixed": RNG.choice(np.array(["mean", 3, 0.1 + 0.2, True, None], object), 997),
    "=text": RNG.choice(np.array(["=1+1", "-a", "+", "@b", "a\nb", 'c"', "", "\u202e", "猫"]), 997),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_digits(tmp_path, name):
    """A file is, byte by byte, what the csv module writes; text that is a formula is defused."""
    columns = {"n": np.arange(997), name: COLUMNS[name]}
    write_table(make_table(columns), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == plain(columns)


def test_append(tmp_path):
    """Rows of several tables make one file with one header, labelled by what they are of."""
    for seed in (3, 5):
        table = make_table({"word": ["cat"], "mass": [0.5]})
        append_table(label_table(table, trace="-a", seed=seed), tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines == ["trace,seed,word,mass", "'-a,3,cat,0.5", "'-a,5,cat,0.5"]


def test_stack():
    """Equal values come together in the order in which they first appear; the rest keeps its."""
    parts = [
        {"branch": ["uncond", "cond"], "n": [1, 2]},
        make_table({"branch": ["cond"], "n": [0]}),
    ]
    assert stack_tables(parts)["n"].tolist() == [1, 2, 0]
    assert stack_tables([*parts, parts[0]], ["branch"])["n"].tolist() == [1, 1, 2, 0, 2]


def test_half_a_character(tmp_path):
    """Names of files may hold what is no character: it is spelled, and stops nothing."""
    write_table(make_table({"trace": ["caf\udce9"]}), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "trace\ncaf\\udce9\n"


def test_lengths():
    """Columns that do not fit together are no table."""
    with pytest.raises(ValueError, match="columns of different lengths: a, b"):
        make_table({"a": [1], "b": [1, 2]})
