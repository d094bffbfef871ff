"""One word over the steps: maps, correlations and balance against the raw numbers in float64."""

import os
from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.tables import write_table
from attn.analysis.words.evolution import EvolutionOptions, run
from attn.errors import AnalysisError
from attn.trace.store import shard_file
from attn.trace.trace import open_trace
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    JOINT,
    make_trace,
    manifest,
    plain_maps,
    read_csv,
    tensors,
    write_trace,
)


@pytest.fixture
def toy():
    """A trace of three steps and two samples, with its stored tensors."""
    about = manifest()
    noise = (1.0, 0.7, 0.2)
    steps = tuple(replace(step, noise=left) for step, left in zip(about.steps, noise, strict=True))
    about = replace(about, steps=steps)
    files = tensors(about)
    return make_trace(about, files), about, files


def frames(toy, word, sample):
    """Return the plain maps of a word, one per step."""
    _, about, files = toy
    return np.stack(
        [plain_maps(about, files, CLIP_WORDS[word, 1], sample, steps=(step,)) for step in (0, 1, 2)]
    )


def test_maps(toy):
    """Each frame is the word's map at that step alone, with the noise that was left."""
    maps = run(toy[0], EvolutionOptions(word="cat")).arrays["maps"]
    assert maps.attrs["word"] == "cat"
    assert maps["noise"].values.tolist() == [1.0, 0.7, 0.2]
    for sample in (0, 1):
        np.testing.assert_allclose(maps[sample], frames(toy, "cat", sample), rtol=1e-5)


def test_a_step_without_the_finest_layer(toy):
    """A layer that did not run in one step is left out there; its map has the same grid as all."""
    _, about, files = toy
    step = shard_file(about.steps[0])
    files[step]["3/map.image.text"] = np.full_like(files[step]["3/map.image.text"], np.nan)
    maps = run(make_trace(about, files), EvolutionOptions(word="cat")).arrays["maps"]
    coarse = plain_maps(about, files, CLIP_WORDS["cat", 1], 0, steps=(0,), layers=about.layers[:1])
    np.testing.assert_allclose(maps[0, 0], coarse, rtol=1e-5)


def test_encoders():
    """Tokens of all encoders are added up, which every text says, or those of one are followed."""
    trace = make_trace(manifest(JOINT))
    result = {
        segment: run(trace, EvolutionOptions(word="cat", segment=segment)).arrays["maps"]
        for segment in (None, "clip", "t5")
    }
    assert [maps.attrs["segments"] for maps in result.values()] == [
        ["clip", "t5"],
        ["clip"],
        ["t5"],
    ]
    np.testing.assert_allclose(result[None], result["clip"] + result["t5"], rtol=1e-6)
    assert result["clip"].std() > 0.1 * result["clip"].mean()
    bobcat = run(trace, EvolutionOptions(word="bobcat")).arrays["maps"]
    assert bobcat.attrs["segments"] == ["clip"]  # t5 cut it off


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"word": "bobcat", "segment": "t5"},
            "evolution.word: no token of 'bobcat' was read in t5, so there is nothing to follow; "
            "name another word",
        ),
        (
            {"segment": "clop"},
            "evolution.segment: there is no text segment 'clop', only clip, t5. "
            "Did you mean 'clip'?",
        ),
    ],
)
def test_encoders_without_the_word(options, message):
    """An encoder that is not there, or did not read the word, is refused."""
    with pytest.raises(AnalysisError) as error:
        run(make_trace(manifest(JOINT)), EvolutionOptions(**options))
    assert str(error.value) == message


def test_the_word_that_is_followed(toy):
    """Without a word it is the least even that names something, not the article that leads."""
    spread = {}
    for word in ("cat", "bobcat"):
        each = [frames(toy, word, sample).mean(0) for sample in (0, 1)]
        spread[word] = np.mean([of.std() / of.mean() for of in each])
    followed = run(toy[0], EvolutionOptions()).arrays["maps"].attrs["word"]
    assert followed == max(spread, key=spread.get)
    with_article = EvolutionOptions(words=("A",))
    assert run(toy[0], with_article).arrays["maps"].attrs["word"] in {"A (1)", "a (2)"}


def test_correlation(toy, tmp_path):
    """Correlations are numpy's Pearson r with the last step and with the one before."""
    result = run(toy[0], EvolutionOptions(word="bobcat"))
    own = frames(toy, "bobcat", 1).reshape(3, -1)
    actual = result.arrays["correlation"].sel(against="last step").values[1]
    np.testing.assert_allclose(actual, [np.corrcoef(item, own[2])[0, 1] for item in own], rtol=1e-4)
    before = result.arrays["correlation"].sel(against="step before").values[1]
    assert np.isnan(before[0])
    np.testing.assert_allclose(before[1], np.corrcoef(own[1], own[0])[0, 1], rtol=1e-4)
    write_table(result.columns["evolution/correlation.csv"], tmp_path / "table.csv")
    rows = read_csv(tmp_path / "table.csv")
    assert len(rows) == 2 * 2 * 3
    assert [row["noise"] for row in rows[:3]] == ["1", "0.7", "0.2"]


def test_balance():
    """Of layers that read several segments, what each gets is the stored total, mean over heads."""
    about = manifest(JOINT)
    files = tensors(about)
    balance = run(make_trace(about, files), EvolutionOptions()).arrays["balance"]
    assert balance["segment"].values.tolist() == ["image", "clip", "t5"]
    layer = about.layers[0]
    total = list(files.values())[2][f"{layer.index}/total.image"][0, 1].astype(float)
    np.testing.assert_allclose(balance.sel(layer=layer.index, step=2)[1], total.mean(0), rtol=1e-6)


def test_one_segment_has_no_balance(toy):
    """Where there is nothing to weigh against each other, there is no table of it."""
    result = run(toy[0], EvolutionOptions())
    assert "balance" not in result.arrays
    assert "evolution/balance.csv" not in result.tables


def test_tokens(tmp_path):
    """Tokens are ranked by the most they get anywhere; special ones and padding only on request."""
    trace = make_trace(manifest(JOINT))
    write_table(
        run(trace, EvolutionOptions()).columns["evolution/tokens.csv"], tmp_path / "table.csv"
    )
    rows = [row for row in read_csv(tmp_path / "table.csv") if row["sample"] == "0"]
    largest = [float(row["share_max"]) for row in rows]
    assert largest == sorted(largest, reverse=True)
    assert {row["token"] for row in rows} == {"A", "cat", ",", "a", "bob", "▁A", "▁cat", "▁a"}
    assert {row["word"] for row in rows if row["token"] == "bob"} == {"bobcat"}
    table = run(trace, EvolutionOptions(specials=True)).columns["evolution/tokens.csv"]
    assert {"<s>", "</s>", "<pad>"} <= set(table["token"])


def test_texts(toy):
    """The texts say what was asked for, and the numbers that one reads first."""
    files = run(toy[0], EvolutionOptions(word="cat")).files
    told = files["evolution/prompt_info.txt"].content
    assert told.startswith("prompt: A cat, a bobcat\n")
    told = files["evolution/attention_stats.txt"].content
    start, *samples = told.split("sample ")
    assert start == "word followed: cat, its tokens in clip\n\n"
    assert [lines[0] for lines in samples] == ["0", "1"]
    for sample, lines in enumerate(text.splitlines() for text in samples):
        rows = [line.split() for line in lines[3:6]]
        assert rows[0][:3] == ["0", "100", "%"]
        own = frames(toy, "cat", sample)
        assert [float(row[4]) for row in rows] == pytest.approx(own.max((1, 2)), rel=1e-2)
        assert rows[2][-2] == "1.000"
        assert sum("share_max" in line for line in lines) == 6


def test_date(tmp_path):
    """What was asked for begins with the date on which the trace was finished, by its file."""
    trace = open_trace(write_trace(tmp_path / "run"))
    os.utime(tmp_path / "run" / "trace.json", (1e9, 1e9))
    told = run(trace, EvolutionOptions(word="cat")).files["evolution/prompt_info.txt"].content
    assert told.startswith("date: 2001-09-09 01:46 UTC\nprompt: A cat, a bobcat\n")


def test_phrase(toy):
    """Words in a row are followed together: their maps are added up."""
    result = run(toy[0], EvolutionOptions(word="a  BOBCAT")).arrays["maps"]
    assert result.attrs["word"] == "a BOBCAT"
    _, about, files = toy
    for sample in (0, 1):
        maps = [
            [
                plain_maps(about, files, CLIP_WORDS[word], sample, steps=(step,))
                for step in (0, 1, 2)
            ]
            for word in (("a", 2), ("bobcat", 1))
        ]
        np.testing.assert_allclose(result[sample], np.sum(maps, 0), rtol=1e-5)


def test_occurrence(toy):
    """One of several equal words is named by its number, as it is labelled everywhere."""
    result = run(toy[0], EvolutionOptions(word="a (2)")).arrays["maps"]
    assert result.attrs["word"] == "a (2)"
    _, about, files = toy
    own = plain_maps(about, files, CLIP_WORDS["a", 2], 1, steps=(2,))
    np.testing.assert_allclose(result[1, 2], own, rtol=1e-5)
    for number in (0, 3):
        message = rf"the prompt has 'a' 2 times; got number {number}, expected 1 to 2"
        with pytest.raises(AnalysisError, match=message):
            run(toy[0], EvolutionOptions(word=f"a ({number})"))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 61.0, float("nan")])
def test_seconds_that_no_film_has(seconds):
    """A time that GIFs cannot hold, or browsers do not show, is refused."""
    with pytest.raises(ValueError, match=r"^seconds must be 0\.02 to 60, .*; got "):
        EvolutionOptions(seconds=seconds)


def test_unknown_word(toy):
    """A word that the prompt does not have is refused with those it has."""
    with pytest.raises(AnalysisError, match="has no word 'dog'"):
        run(toy[0], EvolutionOptions(word="dog"))
