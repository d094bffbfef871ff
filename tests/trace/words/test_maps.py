"""Means of one tower, and maps of words, against plain float64 sums over a trace's tensors."""

import numpy as np
import pytest

from attn.analysis.compare.agreement import agree
from attn.analysis.words import stepavg
from attn.analysis.words.selection import Choice, choose
from attn.errors import AnalysisError, TraceError
from tests.helpers.toy_traces import (
    CROSS,
    JOINT,
    cross_layer,
    make_trace,
    manifest,
    plain_maps,
    stored,
    tensors,
)

CONTROL = cross_layer(4, (2, 7), 5, tower="controlnet")
TOWERS = manifest((*CROSS, CONTROL))


def test_towers_apart():
    """A mean is of one network: a ControlNet's layers never weigh on those of the UNet."""
    files = tensors(TOWERS)
    trace = make_trace(TOWERS, files)
    for tower, layers, grid in (("denoiser", CROSS, (6, 10)), ("controlnet", [CONTROL], (2, 7))):
        mean = trace.mean_maps(tower=tower, sample=1)
        assert (mean.tower, mean.layers) == (tower, [layer.index for layer in layers])
        for index, column in enumerate(TOWERS.kept.columns):
            plain = plain_maps(TOWERS, files, [column.position], 1, layers=layers, grid=grid)
            np.testing.assert_allclose(mean[..., index], plain, atol=1e-7)
        words = trace.word_maps("bobcat", tower=tower)[1, 0, 0]
        plain = plain_maps(TOWERS, files, [5, 6], 1, layers=layers, grid=grid)
        np.testing.assert_allclose(words, plain, atol=1e-7)


TWO = "the layers are in the towers denoiser, controlnet, which are .* such as tower='denoiser'"


@pytest.mark.parametrize("method", ["mean_maps", "word_maps"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, TWO),
        ({"layers": [3, 4]}, TWO),
        ({"layers": ["blocks.3.attn2", 4], "tower": "denoiser"}, "layer 4 .* is in 'controlnet'"),
        ({"tower": "contronet"}, "no tower 'contronet'; there is denoiser, controlnet"),
        ({"layers": ["blocks.4.attn2"], "tower": "denoiser"}, "no layer 'denoiser:blocks.4.attn2'"),
    ],
)
def test_a_tower_is_named(method, options, message):
    """Which network is meant is asked, not guessed."""
    with pytest.raises(TraceError, match=message):
        getattr(make_trace(TOWERS), method)(**options)


@pytest.mark.parametrize(
    "average",
    [
        lambda trace, layers: choose(trace, Choice(layers=layers)),
        lambda trace, layers: stepavg.run(trace, stepavg.StepMeansOptions(layers=layers)),
        lambda trace, layers: agree(trace.manifest, trace.manifest, "cond", layers, ()),
    ],
)
def test_patterns_of_several_towers(average):
    """No analysis and no comparison averages over two networks, whatever pattern is asked."""
    with pytest.raises(AnalysisError, match=r"are in 2 towers, denoiser, controlnet, .*layers=den"):
        average(make_trace(TOWERS), ("blocks.1.*", "3-4"))
    average(make_trace(TOWERS), ("controlnet:*",))


def test_words_and_phrases():
    """Maps lie by sample, segment and word; what a segment does not hold whole is not a number."""
    about = manifest(JOINT)
    files = tensors(about)
    maps = make_trace(about, files).word_maps(["cat", "bobcat"], ["a bobcat", "A cat"], steps=[2])
    assert maps.dims == ("sample", "segment", "word", "row", "column")
    assert maps["word"].values.tolist() == ["cat", "bobcat", "a bobcat", "A cat"]
    assert maps["kind"].values.tolist() == ["word", "word", "phrase", "phrase"]
    assert maps["start"].values.tolist() == [2, 9, 7, 0]
    clip, t5 = ([2], [5, 6], [4, 5, 6], [1, 2]), ([12], [], [], [11, 12])
    for segment, positions in (("clip", clip), ("t5", t5)):
        for at, own in enumerate(positions):
            plain = plain_maps(about, files, own, 1, steps=[2]) if own else np.full((6, 10), np.nan)
            np.testing.assert_allclose(maps.sel(segment=segment)[1, at], plain, atol=1e-7)


def test_heads():
    """Single heads are averaged if they are named, and refused where a layer has fewer."""
    about = manifest(level="heads")
    files = tensors(about)
    trace = make_trace(about, files)
    maps = trace.word_maps("cat", layers=[3], heads=[2, 0])
    indices = [column.position for column in about.kept.columns].index(2)
    heads = np.mean([stored(files, CROSS[1], "headmap", step) for step in range(3)], 0)
    plain = heads[:, [0, 2]][..., indices].mean(1).reshape(2, 6, 10)
    np.testing.assert_allclose(maps[:, 0, 0], plain, atol=1e-7)
    with pytest.raises(TraceError, match=r"no head 2 in layer 1 .*2 heads, 0 to 1"):
        trace.word_maps("cat", heads=[2])
    with pytest.raises(TraceError, match=r"no headmap.*--keep heads"):
        make_trace().word_maps("cat", heads=[0])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"words": "dog"}, AnalysisError, "the prompt has no word 'dog'"),
        ({"phrases": "cat bobcat"}, AnalysisError, "the prompt has no phrase 'cat bobcat'"),
        ({"words": ()}, TraceError, "no word and no phrase is named; words=None takes all"),
        ({"branch": "uncond"}, TraceError, "there is no branch 'uncond'; there is cond"),
    ],
)
def test_what_is_not_there(asked, error, message):
    """Wrong names are answered with what there is."""
    with pytest.raises(error, match=message):
        make_trace().word_maps(**asked)


def test_repeated_words():
    """Every occurrence has its map, in the prompt's order, under its own label."""
    maps = make_trace().word_maps()
    assert maps["word"].values.tolist() == ["A (1)", "cat", "a (2)", "bobcat"]
