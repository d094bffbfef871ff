"""`attn ablate` on a model that writes texts, from the command line to the numbers."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import attn
from attn.analysis.compare.paired import paired_interval
from attn.analysis.compare.written import read_decisions
from attn.cli import build

pytestmark = pytest.mark.usefixtures("demo_cache")
PROMPTS = [f"What colour is {thing}?" for thing in ("grass", "snow", "blood", "coal")]
SETTINGS = {"gen_length": "8", "block_length": "4"}


@pytest.fixture(scope="module")
def ablated(demo_cache, tmp_path_factory):
    """Cut a word of four questions, and skip a layer."""
    out = tmp_path_factory.mktemp("texts") / "out"
    options = {"seed": 3, "steps": 4, "settings": SETTINGS}
    return attn.ablate("mmada", PROMPTS, cut=["colour", "layer 1"], out=out, **options)


def decisions(out, variant):
    """Return how each text of a variant was decided, in order."""
    return [
        of
        for folder in sorted((out / variant).glob("[0-9]*"))
        for of in read_decisions(attn.open(folder))
    ]


def test_changed_tokens(ablated):
    """The table has the part of other tokens, its control, and the interval of the difference."""
    out, table = ablated.path.parent, ablated.tables["cuts.csv"]
    runs = [decisions(out, name) for name in ("base", "colour-cut", "random-0-like-colour")]
    parts = []
    for of_text in zip(*runs, strict=True):
        base, *others = of_text
        length = [max(base.length, other.length) for other in others]
        parts.append(
            [
                np.mean(base.tokens[:count] != other.tokens[:count])
                for count, other in zip(length, others, strict=True)
            ]
        )
    assert len({of.key for of in runs[0]}) == len(parts)
    cut, random = np.array(parts).T
    low, high, _ = paired_interval((cut - random)[:, None])
    row = table[(table["cut"] == "colour cut") & (table["measure"] == "token")].iloc[0]
    names = ["change", "random_change", "difference_low", "difference_high", "n"]
    expected = [cut.mean(), random.mean(), low[0], high[0], 4]
    np.testing.assert_allclose(row[names].astype(float), expected, rtol=1e-6, atol=1e-9)


def test_measures_and_files(ablated):
    """Token, text, confidence and order are there, as table, figure and sentence."""
    table = ablated.tables["cuts.csv"]
    assert set(table["measure"]) == {"token", "text", "confidence", "order"}
    assert set(table[table["cut"] == "layer 1 cut"]["controls"]) == {1}
    assert {"cuts.png", "report.html", "tables/decisions.csv"} <= set(ablated.files)
    assert ablated.answer.startswith("Cutting colour writes another text in ")
    assert dict(ablated.variants)["colour cut"] == 4


def test_compared_again(ablated, tmp_path):
    """The same table comes out of the folders; words have no maps here."""
    out = ablated.path.parent
    runs = [out / name for name in ("base", "colour-cut", "random-0-like-colour")]
    again = attn.compare(*runs, out=tmp_path / "again", pictures=False).tables["cuts.csv"]
    table = ablated.tables["cuts.csv"]
    names = ["measure", "change", "random_change", "difference_low"]
    first = table[table["cut"] == "colour cut"][names].reset_index(drop=True)
    assert first.equals(again[names])
    with pytest.raises(attn.AttnError, match="words chooses among maps of words, but these runs"):
        attn.compare(*runs, words="colour", out=tmp_path / "other")


def test_equal_texts_count_once(tmp_path):
    """Without temperature the seed changes nothing, so that two seeds are no two texts."""
    settings = SETTINGS | {"temperature": "0"}
    done = attn.ablate(
        *("mmada", PROMPTS[:2]),
        cut="colour",
        random=0,
        seed=range(2),
        steps=4,
        settings=settings,
        out=tmp_path / "out",
        pictures=False,
    )
    assert set(done.tables["cuts.csv"]["n"]) == {2}
    assert "of 4 texts only 2 differ, and those that do not count once" in done.warnings[-1]
    assert "too few to tell from chance" in done.answer


def test_command_line(tmp_path, monkeypatch):
    """What would be generated is known before; words of maps are refused in one line."""
    monkeypatch.chdir(tmp_path)
    arguments = ["ablate", "-b", "mmada", "-p", PROMPTS[0], "--cut", "colour", "--seed", "0-1"]
    planned = CliRunner().invoke(build(), [*arguments, "--dry-run", "--json"])
    assert planned.exit_code == 0
    names = [variant["name"] for variant in json.loads(planned.stdout)["variants"]]
    assert names == ["colour cut", "random 0 like colour"]
    refused = CliRunner().invoke(build(), [*arguments, "--words", "colour", "-o", "out"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "words chooses among maps of words, but this model writes a text" in refused.stderr
    assert list(tmp_path.iterdir()) == []
