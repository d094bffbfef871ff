"""Word heatmaps: which maps and tables there are, and what is selected."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from attn.analysis.registry import find
from attn.analysis.words.selection import BLOCK
from attn.analysis.words.words import WordsOptions, run
from attn.errors import AnalysisError
from attn.trace.means import average
from attn.trace.store import shard_file
from attn.trace.words.sums import lay_out, sum_tokens
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    CROSS,
    JOINT,
    cross_layer,
    make_trace,
    manifest,
    plain_maps,
    tensors,
)


def test_maps():
    """A word's map is the sum of its tokens' columns, averaged over layers, steps and heads."""
    about = manifest()
    files = tensors(about)
    maps = run(make_trace(about, files), WordsOptions()).arrays["clip"]
    assert maps.dims == ("sample", "word", "row", "column")
    assert maps["text"].values.tolist() == ["A", "cat", "a", "bobcat"]
    for index, positions in enumerate(CLIP_WORDS.values()):
        for sample in range(2):
            expected = plain_maps(about, files, positions, sample)
            np.testing.assert_allclose(maps[sample, index], expected, rtol=1e-6)


def test_one_pass(monkeypatch):
    """Every shard is read once, for masses and maps together, and the maps are those of a mean."""
    trace, files = make_trace(), []
    read = type(trace._source).read
    monkeypatch.setattr(
        type(trace._source), "read", lambda *given: files.append(given[1]) or read(*given)
    )
    result = run(trace, WordsOptions())
    assert [file for file, _ in groupby(files)] == [shard_file(step) for step in trace.steps]
    monkeypatch.undo()
    maps = average(trace, BLOCK, trace.layers, None, "cond")
    members = lay_out(
        maps.columns, [[("clip", at) for at in clip_word] for clip_word in CLIP_WORDS.values()]
    )
    expected = np.moveaxis(sum_tokens(maps.values, members), -1, 1)
    np.testing.assert_array_equal(result.arrays["clip"].values, expected)


def test_occurrences_stay_separate():
    """Equal words, whatever their case, have each their own map and number."""
    maps = run(make_trace(), WordsOptions(words=("a",))).arrays["clip"]
    assert maps["label"].values.tolist() == ["A (1)", "a (2)"]
    assert maps["word"].values.tolist() == [0, 2]
    assert not np.allclose(maps[0, 0], maps[0, 1])


def test_rest_is_in_no_word():
    """What special tokens, padding and punctuation get, however much, changes no word."""
    about = manifest()
    files = tensors(about)
    before = run(make_trace(about, files), WordsOptions())
    for shard in files.values():
        by_key = {name: value for name, value in shard.items() if "/total." not in name}
        for name, tensor in by_key.items():
            tensor[..., [0, *range(7, 11)] if "/map." not in name else -1] = 0.9
            tensor[..., 3 if "/map." not in name else 2] = 0.8
    after = run(make_trace(about, files), WordsOptions())
    assert after.arrays["clip"].equals(before.arrays["clip"])
    for path, table in before.tables.items():
        for name, column in table.items():
            np.testing.assert_array_equal(column, after.columns[path][name])


def test_selected_layers_and_steps():
    """Layers and steps that are not selected count nowhere."""
    about = manifest()
    files = tensors(about)
    result = run(make_trace(about, files), WordsOptions(layers=("3",), steps=("1-2",)))
    rows = result.columns["clip/tables/words.csv"]
    assert set(zip(rows["layer"], rows["step"], strict=True)) == {(3, 1), (3, 2)}
    expected = plain_maps(about, files, [2], 0, steps=(1, 2), layers=CROSS[1:])
    maps = result.arrays["clip"]
    np.testing.assert_allclose(maps[0, 1], expected, rtol=1e-6)
    assert maps.attrs["unit"] == "attention probability, mean over 1 layer, 2 steps and all heads"


def test_other_towers_are_left_out():
    """A ControlNet's layers count only if they are asked for."""
    about = manifest((*CROSS, cross_layer(4, (3, 5), 2, tower="controlnet")))
    trace = make_trace(about)
    assert run(trace, WordsOptions()).arrays["clip"].attrs["layers"] == [1, 3]
    requested = run(trace, WordsOptions(layers=("controlnet:*",)))
    assert requested.arrays["clip"].attrs["layers"] == [4]


def test_normalised_maps():
    """Normalised maps are each word's part of the sum over all words, selected or not."""
    plain = run(make_trace(), WordsOptions()).arrays["clip"].values
    expected = plain / plain.sum(1, keepdims=True)
    maps = run(make_trace(), WordsOptions(normalise=True)).arrays["clip"].values
    np.testing.assert_allclose(maps, expected)
    item = run(make_trace(), WordsOptions(normalise=True, words=("bobcat",))).arrays["clip"].values
    np.testing.assert_allclose(item[:, 0], expected[:, 3])


def test_topk_draws_the_largest():
    """`topk` keeps the words of most mass for pictures, in the prompt's order; tables keep all."""
    result = run(make_trace(), WordsOptions(topk=2))
    summary = result.columns["clip/tables/words_summary.csv"]
    mass = summary["mass"].reshape(4, 2).sum(1)
    assert result.arrays["clip"]["word"].values.tolist() == sorted(np.argsort(-mass)[:2])
    assert len(mass) == 4


def test_cut_prompt():
    """A word that did not fit is named, has no rows and no picture in that segment."""
    result = run(make_trace(manifest(JOINT)), WordsOptions())
    assert result.notes == ("the prompt did not fit into segment 't5': no token of bobcat",)
    assert result.arrays["t5"]["text"].values.tolist() == ["A", "cat", "a"]
    only = run(make_trace(manifest(JOINT)), WordsOptions(words=("bobcat",)))
    assert list(only.arrays) == ["clip"]
    assert "t5/tables/words.csv" not in only.tables


def cut_in_a_word():
    """Return a manifest whose clip ends in the middle of `bobcat`, which t5 does not hold."""
    about = manifest(JOINT)
    tokens = tuple(token for token in about.tokens["cond"] if token.position != 6)
    return replace(
        about, tokens={"cond": tokens}, truncated={"cond": {"clip": "cat", "t5": "bobcat"}}
    )


@pytest.mark.parametrize("name", ["words", "curves"])
def test_cut_word(name):
    """A word that is cut in its middle is named, keeps what was read, and spoils its phrases."""
    analysis = find(name)
    options = analysis.Options(phrases=("a bobcat", "a cat"), together=True)
    result = analysis.run(make_trace(cut_in_a_word()), options)
    left_out = "phrases that segment '{}' does not hold whole are left out: a bobcat"
    assert result.notes == (
        "the prompt did not fit into segment 'clip': only the beginning of bobcat",
        left_out.format("clip"),
        "the prompt did not fit into segment 't5': no token of bobcat",
        left_out.format("t5"),
        "the prompt did not fit into segment 'text': only the beginning of bobcat",
        left_out.format("text"),
    )
    tables = [table for path, table in result.tables.items() if "/phrases" in path]
    assert len(tables) == 6  # per segment: two of each analysis
    assert {name for table in tables for name in table["phrase"]} == {"a cat"}
    own = next(table for path, table in result.tables.items() if "clip/tables/words" in path)
    assert "bobcat" in set(own["word"])


def test_word_that_another_segment_holds():
    """What clip cuts and t5 holds whole is not cut in the segment of both."""
    about = replace(manifest(JOINT), truncated={"cond": {"clip": "cat"}})
    result = run(make_trace(about), WordsOptions(phrases=("a bobcat",), together=True))
    assert set(result.columns["text/tables/phrases_summary.csv"]["phrase"]) == {"a bobcat"}


def test_segment_without_words():
    """A segment that holds nothing of the prompt, such as an encoder left out, is not mentioned."""
    about = manifest(JOINT)
    read = tuple(
        replace(token, word=None) if token.segment == "t5" else token
        for token in about.tokens["cond"]
    )
    result = run(make_trace(replace(about, tokens={"cond": read})), WordsOptions())
    assert (list(result.arrays), result.notes) == (["clip"], ())
    assert {path.split("/")[0] for path in result.tables} == {"clip", "words"}


def test_without_maps():
    """Level `mass` gives the tables, without peaks."""
    result = run(make_trace(manifest(level="mass")), WordsOptions())
    assert result.arrays == {}
    summary = result.columns["clip/tables/words_summary.csv"]
    assert np.isnan(summary["peak_row"]).all()
    assert (summary["mass"] > 0).all()


def test_means():
    """Level `means` gives the maps of level `maps`, up to float16."""
    maps = run(make_trace(), WordsOptions()).arrays["clip"]
    means = run(make_trace(manifest(level="means")), WordsOptions()).arrays["clip"]
    np.testing.assert_allclose(means, maps, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            WordsOptions(words=("cta",)),
            r"no word 'cta'\. Did you mean 'cat'\? Its words: a, cat, bobcat",
        ),
        (
            WordsOptions(layers=("7-9",)),
            r"no captured layer matches '7-9'; there are 1 \(blocks.1.attn2\)",
        ),
        (WordsOptions(steps=("3",)), "no captured step matches '3'; there are 0 to 2"),
        (WordsOptions(branch="uncond"), "branch 'uncond' was not captured; there is cond"),
    ],
)
def test_what_is_not_there(options, message):
    """What was selected but does not exist is an error that lists what does."""
    with pytest.raises(AnalysisError, match=message):
        run(make_trace(), options)


def test_no_words():
    """A prompt without words cannot be analysed."""
    about = replace(manifest(), words=())
    with pytest.raises(AnalysisError, match="the prompt has no words"):
        run(make_trace(about), WordsOptions())


def test_no_words_in_the_negative_prompt():
    """Of the guidance row of an empty negative prompt it is said which prompt has no words."""
    about = manifest(branches=("cond", "uncond"))
    about = replace(about, request=replace(about.request, negative=None))
    with pytest.raises(AnalysisError, match="the negative prompt has no words; leave branch out"):
        run(make_trace(about), WordsOptions(branch="uncond"))


def test_topk_must_be_positive():
    """`topk` of nothing is refused where it is set."""
    with pytest.raises(ValueError, match="topk must be at least 1, got 0"):
        WordsOptions(topk=0)


def test_words_without_tokens():
    """If no encoder holds a token of a word, as after a prompt of padding, that is said."""
    about = manifest()
    read = tuple(replace(token, word=None) for token in about.tokens["cond"])
    result = run(make_trace(replace(about, tokens={"cond": read})), WordsOptions())
    assert result.tables == {}
    assert result.notes == ("no captured layer reads a token of the prompt's words",)


@pytest.mark.parametrize(
    ("pooling", "layers", "told"),
    [("mean", [1, 3, 5], "mean over 3 layers"), ("daam", [1, 3], "DAAM's mean over 2 layers")],
)
def test_layers_in_the_caption(pooling, layers, told):
    """A caption counts the layers that are in the maps: none that is left out, or never ran."""
    middle = replace(cross_layer(5, (6, 10), 3), path="mid_block.attentions.0.attn2")
    about = manifest([*CROSS, middle, cross_layer(7, (6, 10), 3)])
    files = tensors(about)
    for shard in files.values():
        shard["7/map.image.text"][:] = np.nan
    maps = run(make_trace(about, files), WordsOptions(pooling=pooling)).arrays["clip"]
    assert maps.attrs["layers"] == layers
    assert maps.attrs["unit"].startswith(f"attention probability, {told}, 3 steps")
