"""Traces of earlier versions: `data/README.md` has the commands that made them."""

from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.trace.trace import open_trace

DATA = Path(__file__).parent / "data"
EXPECTED = DATA / "expected"
TABLES = sorted(path.relative_to(EXPECTED).as_posix() for path in EXPECTED.rglob("*.csv"))


def run(*arguments):
    """Return the standard output of a command that ends well."""
    result = CliRunner().invoke(build(), list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A folder with what `attn analyze` makes today of each trace."""
    folder = tmp_path_factory.mktemp("analysed")
    for name in ("picture", "text"):
        run("analyze", DATA / name, "--no-pictures", "-o", folder / name)
    return folder


@pytest.mark.parametrize(("name", "files"), [("picture", 5), ("text", 6)])
def test_digests(name, files):
    """Every file of an earlier trace still has the digest it was written with."""
    assert run("verify", DATA / name) == f"{files} files of 1 trace as written\n"


def test_maps():
    """Maps of words of an earlier trace hold what the table of that time says of them."""
    trace = open_trace(DATA / "picture")
    maps = trace.word_maps().sel(segment="t5")
    rows = pandas.read_csv(EXPECTED / "picture/t5/tables/words_summary.csv")
    assert list(rows.word) == [word.split()[0] for word in maps.word.values]
    means = maps.mean(("row", "column")).values[0]
    assert means == pytest.approx(rows.mass.to_numpy(), rel=2e-3)  # maps are in float16


@pytest.mark.parametrize("name", TABLES)
def test_tables(analysed, name):
    """The tables of an earlier trace have the rows and numbers of then, maybe with more columns."""
    expected = pandas.read_csv(EXPECTED / name)
    assert len(expected) > 1
    table = pandas.read_csv(analysed / name)[list(expected.columns)]
    pandas.testing.assert_frame_equal(table, expected, rtol=1e-6)
