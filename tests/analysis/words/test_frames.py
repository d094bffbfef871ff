"""Words frame by frame of a video, against the raw numbers in float64."""

import numpy as np
import pytest

from attn.analysis.needs import find_lack
from attn.analysis.registry import find
from attn.analysis.relations.looks import Place
from attn.analysis.scores.scored import score_trace
from attn.analysis.words.frames import NEEDS, FramesOptions, run
from attn.analysis.words.words import WordsOptions
from attn.analysis.words.words import run as run_words
from attn.errors import AnalysisError
from tests.helpers.toy_traces import VIDEO, make_trace, manifest, stored, tensors

ABOUT = manifest(VIDEO)
FILES = tensors(ABOUT)


@pytest.fixture(scope="module")
def result():
    """The words of a toy video."""
    return run(make_trace(ABOUT, FILES), FramesOptions(phrases=("a bobcat",)))


def masses(positions):
    """Return (sample, frame): mean over layers, steps and places of some map columns."""
    indices = [at for at, column in enumerate(ABOUT.kept.columns) if column.position in positions]
    every = [
        stored(FILES, layer, "map", step)[..., indices].sum(-1).reshape(2, 5, -1).mean(-1)
        for layer in ABOUT.layers
        for step in (0, 1, 2)
    ]
    return np.mean(every, 0)


@pytest.mark.parametrize(
    ("word", "positions"), [("A", [1]), ("cat", [2]), ("bobcat", [5, 6]), ("a bobcat", [4, 5, 6])]
)
def test_mass_and_lift(result, word, positions):
    """Mass is the mean over a frame's places, lift that by its mean over all frames."""
    table = result.tables["clip/tables/frames.csv"]
    own = table[(table["word"] == word) & (table["occurrence"] == 1)]
    expected = masses(positions)
    assert own["frame"].tolist() == [*range(5)] * 2
    assert np.allclose(own["mass"], expected.ravel(), atol=1e-6)
    assert np.allclose(own["lift"], (expected / expected.mean(1, keepdims=True)).ravel(), atol=1e-5)
    assert {*own["kind"]} == {"phrase" if " " in word else "word"}


def test_peaks(result):
    """A peak is where the frame's own map is largest."""
    maps = make_trace(ABOUT, FILES).word_maps("cat", frame=3).values[1, 0, 0]
    table = result.tables["clip/tables/frames.csv"]
    own = table[(table["word"] == "cat") & (table["frame"] == 3) & (table["sample"] == 1)]
    peak = (int(own["peak_row"].iloc[0]), int(own["peak_column"].iloc[0]))
    assert peak == np.unravel_index(maps.argmax(), maps.shape)


def test_other_analyses_say_the_mean():
    """Maps of words are means over frames, and are said to be; a picture's are not."""
    trace = make_trace(ABOUT, FILES)
    told = run_words(trace, WordsOptions())
    assert "2 layers, 3 steps, 5 frames and all heads" in told.arrays["clip"].attrs["unit"]
    assert any("means over the 5 frames" in note for note in told.notes)
    assert not run_words(make_trace(), WordsOptions()).notes


def test_only_of_videos():
    """It runs on no picture, and pictures' regions score no video; both are said."""
    assert str(find_lack(NEEDS, manifest())) == "a video, of which no captured layer has frames"
    assert find_lack(NEEDS, ABOUT) is None
    assert find("frames").run is run
    with pytest.raises(AnalysisError, match="is a video"):
        score_trace(make_trace(ABOUT, FILES), {})


def test_a_place_is_in_every_frame():
    """A place of a video weighs the same cells of each frame."""
    weights = Place(1, 2, 2, 3, (2, 3)).weigh((2, 3), 5)
    assert weights.shape == (30, 1)
    assert np.flatnonzero(weights).tolist() == [5 + 6 * frame for frame in range(5)]
    assert np.isclose(weights.sum(), 1)
