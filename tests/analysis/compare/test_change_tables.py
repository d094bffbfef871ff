"""The tables of a comparison, recomputed from the tensors of toy traces."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare.change_tables import PARTS, with_name
from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.tables import make_frame, stack_tables, write_table
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    CROSS,
    JOINT,
    make_trace,
    manifest,
    plain_maps,
    stored,
    tensors,
)

SEEDS = range(5)
COLUMNS = [
    "word", "occurrence", "segment", "layer", "head", "step", "base", "variant", "change",
    "relative_change", "low", "high", "effect_size", "n",
]  # fmt: skip


@pytest.fixture(scope="module")
def files():
    """Return the tensors of five pairs of traces."""
    about = manifest(samples=1)
    return [(tensors(about, seed), tensors(about, 100 + seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def pairs(files):
    """Return five pairs."""
    about = manifest(samples=1)
    return [
        compare_pair(make_trace(about, base), make_trace(about, variant), PairOptions(), {})
        for base, variant in files
    ]


def rows(tables, name, **where):
    """Return the rows of a table, as dictionaries, that have some values."""
    listed = make_frame(tables[name]).to_dict("records")
    return [row for row in listed if all(row[key] == value for key, value in where.items())]


def masses(files, word, steps=(0, 1, 2), layers=CROSS):
    """Return the mass of a word in every pair: (pair, base and variant)."""
    tokens = CLIP_WORDS[word]
    return np.array(
        [
            [
                np.mean(
                    [
                        np.mean(
                            [stored(side, layer, "mass", step)[0][:, tokens].sum(-1).mean()
                             for step in steps]
                        )
                        for layer in layers
                    ]
                )
                for side in pair
            ]
            for pair in files
        ]
    )  # fmt: skip


def check(row, expected):
    """Compare a row with the plain numbers of its pairs."""
    base, variant = expected.T
    changes = variant - base
    assert row["base"] == pytest.approx(base.mean())
    assert row["variant"] == pytest.approx(variant.mean())
    assert row["change"] == pytest.approx(changes.mean())
    assert row["relative_change"] == pytest.approx(changes.mean() / base.mean())
    assert row["effect_size"] == pytest.approx(changes.mean() / changes.std(ddof=1))
    assert row["low"] < row["change"] < row["high"]
    assert row["n"] == 5


@pytest.mark.parametrize("word", list(CLIP_WORDS))
def test_words(pairs, files, word):
    """Overall numbers are means over layers and steps, paired over traces."""
    tables = PARTS["words"](pairs, None)
    assert list(tables["mass.csv"]) == COLUMNS
    (row,) = rows(tables, "mass.csv", word=word[0], occurrence=word[1])
    check(row, masses(files, word))
    assert (row["layer"], row["head"], row["step"]) == ("mean", "mean", "mean")


def test_order(pairs):
    """The word that changed most leads the table."""
    changes = np.abs(PARTS["words"](pairs, None)["mass.csv"]["change"])
    assert (np.diff(changes) <= 0).all()


def test_layers_heads_and_steps(pairs, files):
    """The same by layer, by head and by step."""
    tables = (
        PARTS["layers"](pairs, None) | PARTS["heads"](pairs, None) | PARTS["steps"](pairs, None)
    )
    word = ("bobcat", 1)
    (row,) = rows(tables, "mass_layers.csv", word="bobcat", layer=3)
    check(row, masses(files, word, layers=CROSS[1:]))
    (row,) = rows(tables, "mass_steps.csv", word="bobcat", step=1)
    check(row, masses(files, word, steps=(1,)))
    (row,) = rows(tables, "mass_heads.csv", word="bobcat", layer=1, head=1)
    head = [
        [np.mean([stored(side, CROSS[0], "mass", step)[0][1, [5, 6]].sum() for step in range(3)])
         for side in pair]
        for pair in files
    ]  # fmt: skip
    check(row, np.array(head))
    assert len(rows(tables, "mass_heads.csv", word="bobcat")) == 2 + 3  # heads of both layers


def test_share(pairs, files):
    """Shares are compared like masses."""
    tables = PARTS["words"](pairs, None) | PARTS["layers"](pairs, None)
    (row,) = rows(tables, "share_layers.csv", word="cat", layer=1)
    share = [
        [np.mean([stored(side, CROSS[0], "share", step)[0][2] for step in range(3)])
         for side in pair]
        for pair in files
    ]  # fmt: skip
    check(row, np.array(share))
    assert len(tables["share.csv"]["word"]) == 4


def test_sinks(pairs, files):
    """The first special token has a table of its own, and is no word."""
    table = PARTS["sinks"](pairs, None)
    (row,) = rows(table, "sinks.csv", layer="mean")
    plain = [
        [np.mean([stored(side, layer, "mass", step)[0][:, 0].mean()
                  for layer in CROSS for step in range(3)]) for side in pair]
        for pair in files
    ]  # fmt: skip
    check(row, np.array(plain))
    assert row["word"] == "<s>"
    assert [item["layer"] for item in rows(table, "sinks.csv")] == ["mean", 1, 3]
    (row,) = rows(table, "sinks_heads.csv", layer=3, head=2)
    plain = [
        [np.mean([stored(side, CROSS[1], "mass", step)[0][2, 0] for step in range(3)])
         for side in pair]
        for pair in files
    ]  # fmt: skip
    check(row, np.array(plain))
    assert len(rows(table, "sinks_heads.csv")) == 2 + 3  # heads of both layers
    assert "<s>" not in PARTS["words"](pairs, None)["mass.csv"]["word"]


def test_maps(pairs):
    """Similarity is a mean over pairs, one row per word and measure."""
    tables = PARTS["maps"](pairs, None)
    index = [term.text for term in pairs[0].terms].index("cat")
    (row,) = rows(tables, "maps.csv", word="cat", measure="divergence")
    expected = [pair.alike[0, index, 1] for pair in pairs]
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["low"] < row["value"] < row["high"]
    assert len(tables["maps.csv"]["word"]) == 4 * 6
    (row,) = rows(tables, "changed.csv")
    assert row["changed"] == pytest.approx(np.mean([pair.changed["clip"][0] for pair in pairs]))
    (row,) = rows(tables, "dominant.csv", word="cat")
    parts = np.array([pair.dominant[:, 0, index] for pair in pairs]).mean(0)
    assert (row["base"], row["variant"]) == pytest.approx(tuple(parts))


def test_only_some_words(pairs):
    """Only asked words have rows, whatever their case; sinks stay."""
    for name, part in PARTS.items():
        for columns in part(pairs, ["CAT"]).values():
            expected = {"<s>"} if name == "sinks" else {"cat"}
            assert "word" not in columns or set(columns["word"]) == expected


def test_other_layers():
    """Without common layers or steps these tables are not there."""
    about = manifest(samples=1), manifest(JOINT, samples=1, steps=2)
    base, variant = (make_trace(item, tensors(item)) for item in about)
    pairs = [compare_pair(base, variant, PairOptions(), {})]
    made = {name: sorted(part(pairs, None)) for name, part in PARTS.items()}
    assert made == {
        "words": ["mass.csv", "mass_pairs.csv", "share.csv"],
        "layers": [],
        "heads": [],
        "steps": [],
        "sinks": [],
        "maps": ["changed.csv", "difference.csv", "dominant.csv", "maps.csv"],
        "images": [],
        "sketch": [],
    }


def test_a_trace_with_itself(files):
    """Every change of every table is exactly 0."""
    about = manifest(samples=1)
    pairs = []
    for base, _ in files:
        trace = make_trace(about, base)
        pairs.append(compare_pair(trace, replace_trace(trace), PairOptions(), {}))
    tables = [columns for part in PARTS.values() for columns in part(pairs, None).values()]
    for columns in (table for table in tables if "change" in table):
        for name in {"change", "low", "high", "effect_size"} & {*columns}:
            assert (columns[name] == 0).all()
        if "relative_change" in columns:
            assert (columns["relative_change"][columns["base"] > 0] == 0).all()
    maps = PARTS["maps"](pairs, None)["maps.csv"]
    same = np.isin(maps["measure"], ["correlation", "iou"])
    assert (maps["value"] == same).all()


def replace_trace(trace):
    """Return the same trace, opened again."""
    return make_trace(replace(trace.manifest), trace.pieces("mass", 1, "image.text").source._files)


def test_names(pairs, tmp_path):
    """Tables of several variants say which one a row is about, in the last column."""
    item, other = (
        with_name(PARTS["words"](pairs, ["cat"])["mass.csv"], name) for name in ("x", "y")
    )
    write_table(stack_tables([item, other]), tmp_path / "mass.csv")
    lines = (tmp_path / "mass.csv").read_text().splitlines()
    assert lines[0] == ",".join([*COLUMNS, "variant_name"])
    assert [line.split(",")[-1] for line in lines[1:]] == ["x", "y"]


def test_difference(pairs, files):
    """Where a word changed is variant minus baseline, cell by cell, mean over pairs."""
    about = manifest(samples=1)
    result = rows(PARTS["maps"](pairs, None), "difference.csv", word="bobcat")
    maps = [[plain_maps(about, side, [5, 6], 0) for side in pair] for pair in files]
    changes = np.array([variant - base for base, variant in maps])
    assert [(row["row"], row["column"]) for row in result] == [*np.ndindex(changes.shape[1:])]
    for row in result:
        cell = changes[:, row["row"], row["column"]]
        assert row["change"] == pytest.approx(cell.mean(), rel=1e-5)
        error = cell.std(ddof=1) / np.sqrt(5)  # fewer than eight: Student's t
        assert row["low"] == pytest.approx(cell.mean() - 2.7764451 * error, rel=1e-4)
        assert row["high"] == pytest.approx(cell.mean() + 2.7764451 * error, rel=1e-4)


def test_pairs(pairs, files):
    """Pair by pair there is the mass of every word."""
    result = rows(PARTS["words"](pairs, ["bobcat"]), "mass_pairs.csv")
    expected = masses(files, ("bobcat", 1))
    np.testing.assert_allclose([[row["base"], row["variant"]] for row in result], expected)
    np.testing.assert_allclose([row["change"] for row in result], np.diff(expected)[:, 0])
