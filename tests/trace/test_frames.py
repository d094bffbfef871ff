"""Traces of videos: maps by frame, and as means over frames, against float64."""

from dataclasses import replace

import numpy as np
import pytest

from attn.errors import TraceError
from attn.schema import Segment
from attn.trace.frames import frame_spans
from attn.trace.manifests import segment_problems
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    VIDEO,
    cross_layer,
    make_trace,
    manifest,
    stored,
    tensors,
)


@pytest.fixture
def toy():
    """A trace of five frames on two grids, its manifest and tensors."""
    about = manifest(VIDEO)
    files = tensors(about)
    return make_trace(about, files), about, files


def plain(about, files, word, sample, frame):
    """Return a word's map of one frame, mean over layers and steps, in float64."""
    indices = [
        at for at, column in enumerate(about.kept.columns) if column.position in CLIP_WORDS[word]
    ]
    maps = []
    for layer in about.layers:
        _, rows, columns = layer.grid
        for step in (0, 1, 2):
            whole = stored(files, layer, "map", step)[sample][:, indices].sum(-1)
            of_frame = whole.reshape(layer.grid)[frame]
            maps.append(np.kron(of_frame, np.ones((4 // rows, 6 // columns))))
    return np.mean(maps, 0)


def test_axes(toy):
    """Maps have the axis of frames; each is where the model has it, frame behind frame."""
    trace, about, files = toy
    maps = trace.maps(3)
    assert maps.dims == ("step", "branch", "sample", "frame", "row", "column", "key")
    whole = stored(files, about.layers[1], "map", 1)
    picked = maps.isel(step=1, branch=0, sample=1, frame=slice(1, 4), row=[3, 0], column=4, key=2)
    expected = whole[1].reshape(5, 4, 6, -1)[1:4, [3, 0], 4, 2]
    assert np.array_equal(picked.values, expected.astype(np.float32))


def test_heads():
    """Maps of single heads have the axis, too, and their mean is the map."""
    about = manifest(VIDEO, level="heads")
    trace = make_trace(about)
    heads = trace.headmaps(1)
    assert heads.sizes["frame"] == 5
    assert np.allclose(heads.mean("head").values, trace.maps(1).values, atol=1e-6)


@pytest.mark.parametrize("word", CLIP_WORDS)
def test_word_maps(toy, word):
    """A word's map of a frame is that of its places alone; without a frame it is their mean."""
    trace, about, files = toy
    at = [*CLIP_WORDS].index(word)
    each = [plain(about, files, word, 1, frame) for frame in range(5)]
    for frame, expected in enumerate(each):
        maps = trace.word_maps(frame=frame).sel(segment="clip", sample=1).isel(word=at)
        assert np.allclose(maps.values, expected, atol=1e-6)
    whole = trace.word_maps().sel(segment="clip", sample=1).isel(word=at)
    assert np.allclose(whole.values, np.mean(each, 0), atol=1e-6)
    assert trace.mean_maps().shape == (4, 6, len(about.kept.columns))


def test_frames_that_are_not_there(toy):
    """A frame that does not exist is refused with how many there are; so is one of a picture."""
    with pytest.raises(TraceError, match="there is no frame 5; there is 0, 1, 2, 3, 4"):
        toy[0].word_maps(frame=5)
    with pytest.raises(TraceError, match="has no frames, but a picture"):
        make_trace().word_maps(frame=0)


@pytest.mark.parametrize("grid", [(5, 2), (3, 2, 5, 1), (5, 2, 4), (0, 5, 6)])
def test_grids_that_cannot_be(grid):
    """A manifest whose grid does not hold the positions, or has other axes, is not believed."""
    assert list(segment_problems("q", (Segment("image", "image", 0, 30, grid),)))
    assert not list(segment_problems("q", (Segment("image", "image", 0, 30, (5, 2, 3)),)))


def test_spans():
    """The first frame is by itself, the others are shared out evenly."""
    assert frame_spans(9, 3) == [(0, 0), (1, 4), (5, 8)]
    assert frame_spans(1, 1) == [(0, 0)]
    assert frame_spans(5, 5) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_picture_has_no_frames():
    """Grids of two axes are as ever, and one frame is a video's."""
    assert (cross_layer(1, (3, 5), 2).frames, cross_layer(1, (3, 5), 2).plane) == (0, (3, 5))
    single = cross_layer(1, (1, 3, 5), 2)
    about = replace(manifest((single,)))
    assert make_trace(about).maps(1).sizes["frame"] == 1
