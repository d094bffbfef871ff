"""Heads weakened in the order of a scan: which are, and the two curves."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

import attn
from attn.analysis.compare.paired import paired_interval
from attn.cli import build
from attn.errors import RequestError, UsageError
from attn.schema import CutTarget, Intervention
from attn.verbs.ablate.scan import CutVariant
from attn.verbs.ablate.weaken import TABLE, read_ranking, weaken_cuts
from attn.verbs.compare.controls.weakening import tell_weakening, weakening_rows

RANKING = [("up.1", 2), ("down.0", 0), ("up.1", 0), ("up.1", 1), ("mid", 4), ("mid", 1)]


def test_heads_of_both_orders():
    """A third and two thirds of the heads, of either end of the order, layer by layer."""
    made = weaken_cuts(RANKING, [], -2.0, 2)
    heads = [[(of.target.layers[0], of.target.heads) for of in variant.cuts] for variant in made]
    assert heads == [
        [("down.0", (0,)), ("up.1", (2,))],
        [("down.0", (0,)), ("up.1", (0, 1, 2))],
        [("mid", (1, 4))],
        [("mid", (1, 4)), ("up.1", (0, 1))],
    ]
    assert {(of.act, of.amount) for variant in made for of in variant.cuts} == {("weigh", -2.0)}
    assert [of.label for of in made][::3] == [
        "2 most relevant heads cut",
        "4 least relevant heads cut",
    ]


def test_cut_in_heads():
    """What is cut is cut in those heads; what is limited already is refused."""
    red = Intervention(CutTarget(words=("red",)))
    made = weaken_cuts(RANKING, [CutVariant("red", (red,))], -2.0, 1)
    assert [(of.act, of.target.words) for of in made[0].cuts] == [("mask", ("red",))] * 2
    limited = Intervention(CutTarget(words=("red",), layers=("4",)))
    with pytest.raises(RequestError, match="weaken: red is limited to heads or layers"):
        weaken_cuts(RANKING, [CutVariant("red", (limited,))], -2.0, 1)


def test_what_is_no_scan(tmp_path):
    """Another folder is refused with what to give."""
    with pytest.raises(RequestError, match="none is not of a scan of heads; give the folder that"):
        read_ranking(tmp_path / "none")


def test_tables_that_are_none(tmp_path):
    """A table of others with a cell beyond all reason is refused in a sentence."""
    (tmp_path / TABLE).parent.mkdir()
    (tmp_path / TABLE).write_text(f"cut,measure\n{'x' * 200_000},level\n")
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(RequestError, match="is no table of a scan: field larger"):
        read_ranking(tmp_path)


def effects(change):
    """Return made-up levels of five pictures of four variants."""
    random = np.random.default_rng(5)
    labels = {("most", 1): 6, ("most", 2): 9, ("least", 1): change, ("least", 2): change}
    return {
        f"{count} {order} relevant head{'s' * (count > 1)} cut": {
            "level": {("a", seed, 0): mean + random.normal() for seed in range(5)}
        }
        for (order, count), mean in labels.items()
    }


def test_curves_and_their_difference():
    """Differences are of the same pictures, and their mean over the numbers has an interval."""
    made = effects(1)
    rows = {(row["order"], row["heads"]): row for row in weakening_rows(made)}
    levels = [np.array(list(of["level"].values())) for of in made.values()]
    differences = (levels[0] - levels[2] + levels[1] - levels[3]) / 2
    low, high, _ = paired_interval(differences[:, None])
    row = rows["most - least", "all"]
    expected = (differences.mean(), low[0], high[0])
    assert (row["change"], row["low"], row["high"]) == pytest.approx(expected, rel=1e-12)
    assert rows["least", "2"]["change"] == pytest.approx(levels[3].mean(), rel=1e-12)
    assert weakening_rows({"red cut": {"level": {}}}) == []


@pytest.mark.parametrize(
    ("change", "verdict"), [(1, "the order of relevance holds"), (20, "the reverse of relevance")]
)
def test_answer(change, verdict):
    """The sentence says which order changes more, and what is shown of it."""
    (sentence,) = tell_weakening(weakening_rows(effects(change)))
    assert "of 255 levels when the most relevant heads are weakened first" in sentence.text
    assert verdict in sentence.text


@pytest.mark.slow
@pytest.mark.usefixtures("demo_cache", "undrawn")
def test_from_scan_to_curve(tmp_path):
    """A scan of two layers' heads, then its order, from the command line."""
    options = ["-b", "sd15", "-p", "a red cat", "--seed", "0-1", "--steps", "2", "--size", "48x80"]
    options += ["--batch", "2", "--layers", "up_blocks.2.attentions.0*"]
    scanned = CliRunner().invoke(
        build(),
        ["ablate", *options, "--scan", "heads", "--no-pictures", "-o", str(tmp_path / "scan")],
    )
    assert scanned.exit_code == 0, scanned.stderr
    ranking = read_ranking(tmp_path / "scan")
    with (tmp_path / "scan/comparison/tables/cuts.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] == "level"]
    levels = {int(row["cut"].split(".")[-1].split()[0]): float(row["change"]) for row in rows}
    assert [head for _, head in ranking] == sorted(levels, key=lambda head: -levels[head])
    again = ["--weaken", str(tmp_path / "scan"), "--points", "2", "-o", str(tmp_path / "curve")]
    weakened = CliRunner().invoke(build(), ["ablate", *options, *again])
    assert weakened.exit_code == 0, weakened.stderr
    assert "Mean over all numbers of heads, the image changes by" in weakened.stdout
    assert {"weakening.png", "tables/weakening.csv"} <= {
        line.strip() for line in weakened.stdout.splitlines()
    }


def test_two_ways_at_once():
    """The reverse order is the control, so that scans and random controls are refused."""
    with pytest.raises(UsageError, match="weaken: the other order is the control"):
        attn.ablate("sd15", "a red cat", weaken=".", scan="heads")
