"""Tables of a comparison and of one trace, against float64 sums of shards read as plain files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn.schema import Lora
from attn.verbs.analyze.analyze import analyze
from attn.verbs.compare.compare import compare
from tests.helpers.toy_traces import CLIP_WORDS, CROSS, PROMPT, manifest, write_collection

SEEDS = range(5)
WORDS = {f"{word}": tokens for (word, _), tokens in CLIP_WORDS.items()}
OTHER = "A dog, a bobcat"
RUNS = {
    "base": (),
    "half": (Lora("style.safetensors", 0.5),),
    "full": (Lora("style.safetensors", 1.0),),
    "random": (Lora("style.safetensors", 1.0, null=0),),
}


def shards(folder):
    """Return the tensors of each step of a trace, as safetensors reads them, in float64."""
    files = sorted(folder.glob("attention/step-*.safetensors"))
    return [
        {name: np.float64(tensor) for name, tensor in load_file(file).items()} for file in files
    ]


def masses(run, tokens):
    """Return a word's mass in each trace of a run, mean over steps, heads and layers."""
    return np.array(
        [
            np.mean(
                [
                    shard[f"{layer.index}/mass.image.text"][0, 0][:, tokens].sum(-1).mean()
                    for shard in shards(run / f"{number:04d}")
                    for layer in CROSS
                ]
            )
            for number in SEEDS
        ]
    )


def word_map(trace, columns):
    """Return a word's map on the finest grid, mean over steps and layers."""
    maps = []
    for shard in shards(trace):
        for layer in CROSS:
            values = shard[f"{layer.index}/map.image.text"][0, 0][:, columns].sum(-1)
            times = 6 // layer.grid[0]
            maps.append(np.kron(values.reshape(layer.grid), np.ones((times, times))))
    return np.mean(maps, axis=0)


def columns_of(word):
    """Return the columns of maps that are tokens of a word."""
    kept = manifest(samples=1).kept.columns
    return [at for at, column in enumerate(kept) if column.position in WORDS[word]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return runs at two scales, one of random weights, and two of another prompt beside them."""
    folder = tmp_path_factory.mktemp("shards")
    about = manifest(samples=1)
    for number, (name, loras) in enumerate(RUNS.items()):
        member = replace(about, request=replace(about.request, loras=loras))
        write_collection(folder / name, SEEDS, member, seed=100 * number)
        if name in ("base", "full"):
            other = folder / "without" / name
            write_collection(other, SEEDS, member, seed=1000 + 100 * number, prompt=OTHER)
    facts = {"schema": 1, "triggers": ["cat"], "prompts": {PROMPT: OTHER}}
    (folder / "without/leak.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def tables(runs, tmp_path_factory):
    """Return the tables of their comparison."""
    out = tmp_path_factory.mktemp("compared")
    return compare(*(runs / name for name in RUNS), out=out, pictures=False).tables


def effects(runs, name, word, below=""):
    """Return the change of a word's mass in each pair."""
    sides = (masses(runs / below / side, WORDS[word]) for side in (name, "base"))
    variant, base = sides
    return variant - base


def test_difference(runs, tables):
    """Each cell is the mean over pairs of the variant's map minus the baseline's."""
    rows = tables["difference.csv"]
    for word, tokens in WORDS.items():
        found = rows[(rows["variant_name"] == "full") & (rows["word"] == word)]
        maps = [
            [word_map(runs / name / f"{number:04d}", columns_of(word)) for number in SEEDS]
            for name in ("full", "base")
        ]
        expected = np.mean(maps[0], axis=0) - np.mean(maps[1], axis=0)
        assert tokens
        np.testing.assert_allclose(found["change"], expected.ravel(), rtol=1e-4, atol=1e-8)


def test_sweep(runs, tables):
    """At each scale the leading word has the mean change of its mass over the pairs."""
    rows = tables["sweep.csv"]
    assert rows["scale"].tolist() == [0.5, 1.0]
    for row, name in zip(rows.to_dict("records"), ("half", "full"), strict=True):
        changes = effects(runs, name, row["word"])
        base = masses(runs / "base", WORDS[row["word"]])
        error = 2.7764451 * changes.std(ddof=1) / np.sqrt(len(SEEDS))  # Student's, of five pairs
        expected = [changes.mean(), changes.mean() / base.mean(), changes.mean() - error]
        assert [row[key] for key in ("change", "relative_change", "low")] == pytest.approx(
            expected, rel=1e-5
        )


def test_null(runs, tables):
    """The effect of the LoRA is divided by that of random weights, each on the named word."""
    rows = tables["null.csv"]
    rows = rows[rows["measure"] != "level"].to_dict("records")
    assert [row["measure"] for row in rows] == ["strongest", "word"]
    for row in rows:
        effect, null = (
            effects(runs, *of).mean()
            for of in (("full", row["word"]), ("random", row["null_word"]))
        )
        numbers = [row["effect"], row["null"], row["ratio"]]
        assert numbers == pytest.approx([effect, null, effect / null], rel=1e-5)


def test_leak(runs, tables):
    """What moves of the words that both prompts have is divided, not of the trigger words."""
    (row,) = (
        tables["leak.csv"].query("measure == 'moved' and variant_name == 'full'").to_dict("records")
    )
    without, there = (
        sum(np.abs(effects(runs, "full", word, below)) for word in WORDS if word != "cat").mean()
        for below in ("without", "")
    )
    numbers = [row["without"], row["with"], row["ratio"]]
    assert numbers == pytest.approx([without, there, without / there], rel=1e-5)


def test_lift(runs, tmp_path):
    """A word's lift is its map by the map's mean, and it leads where no rival's is as large."""
    analyze(runs / "base/0000", out=tmp_path / "out", only=["words"], pictures=False)
    import pandas as pd

    rows = pd.read_csv(tmp_path / "out/clip/tables/dominant.csv").set_index("word")
    maps = {word: word_map(runs / "base/0000", columns_of(word)) for word in ("cat", "bobcat")}
    lifts = {word: values / values.mean() for word, values in maps.items()}
    for word, other in (("cat", "bobcat"), ("bobcat", "cat")):
        leads = (lifts[word] > lifts[other]) & (lifts[word] >= 1.2)
        assert rows.loc[word, "lift_max"] == pytest.approx(lifts[word].max(), rel=1e-5)
        assert rows.loc[word, "dominant"] == pytest.approx(leads.mean())
