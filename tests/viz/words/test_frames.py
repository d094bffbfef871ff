"""Figures of a video's words: which there are, and what is on them."""

from dataclasses import replace

import numpy as np
from PIL import Image

from attn.analysis.words.frames import FramesOptions, run
from attn.viz.figures import AnimationFile, Subject, write
from attn.viz.words.frames import draw
from tests.helpers.toy_traces import VIDEO, cross_layer, make_trace, manifest

FRAMES = np.random.default_rng(0).integers(0, 256, (17, 26, 40, 3), np.uint8)
ABOUT = Subject("A cat, a bobcat", 7, "toy", (FRAMES[8],), video=lambda sample: FRAMES)


def drawn(options, layers=VIDEO, about=ABOUT):
    """Return the figures of a toy video of 17 frames by their paths."""
    described = manifest(layers, samples=1)
    described = replace(described, request=replace(described.request, frames=17, fps=8))
    figures = list(draw(run(make_trace(described), options), about))
    return {figure.path: figure for figure in figures}


def test_files(tmp_path):
    """There are two sheets, curves, a film of all words, and of each alone if that is asked for."""
    figures = drawn(FramesOptions(words=("cat", "bobcat"), films=True))
    assert [*figures] == [
        "clip/heatmaps/frames.png",
        "clip/heatmaps/frames-own-scale.png",
        "clip/curves/frames.png",
        "clip/heatmaps/frames.gif",
        "clip/heatmaps/frames/000-cat.gif",
        "clip/heatmaps/frames/001-bobcat.gif",
    ]
    film = figures["clip/heatmaps/frames.gif"]
    assert isinstance(film, AnimationFile)
    assert film.durations == [125, 500, 500, 500, 500]
    write(film, tmp_path, ABOUT.texts)
    with Image.open(tmp_path / film.path) as animation:
        assert animation.n_frames == 5


def test_sheet():
    """Frames are columns, words are rows below the video, if there is one."""
    figures = drawn(FramesOptions(scale="shared", film=False))
    assert [*figures] == ["clip/heatmaps/frames.png", "clip/curves/frames.png"]
    figure = figures["clip/heatmaps/frames.png"].figure
    texts = [text.get_text() for text in figure.texts]
    assert texts[-5:] == ["video", "A (1)", "cat", "a (2)", "bobcat"]
    titles = [text for axes in figure.axes[::5][:5] for text in _titles(axes)]
    assert titles == ["0: 0", "1: 1–4", "2: 5–8", "3: 9–12", "4: 13–16"]
    without = drawn(FramesOptions(film=False), about=replace(ABOUT, video=lambda sample: None))
    assert len(without["clip/heatmaps/frames.png"].figure.axes) == 5 * 4 + 1


def test_long_videos():
    """Of many frames some are drawn, in equal distances, and the heading says how many."""
    long = (cross_layer(1, (29, 2, 3), 2),)
    figure = drawn(FramesOptions(film=False), long)["clip/heatmaps/frames.png"].figure
    assert len(figure.axes) == 11 * 5 + 1
    assert any("11 of 29 frames" in text.get_text() for text in figure.texts)


def test_few_words():
    """The words of most mass are drawn, and it is said how many are not."""
    figure = drawn(FramesOptions(topk=1, film=False))["clip/heatmaps/frames.png"].figure
    assert any("3 more words not shown" in text.get_text() for text in figure.texts)


def _titles(axes):
    texts = [axes.get_title(loc) for loc in ("left", "center", "right")]
    return [text for text in (*texts, *(text.get_text() for text in axes.texts)) if text]
