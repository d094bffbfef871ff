"""The frames of a word: all steps, one scale, one size."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attn.analysis.words.evolution import EvolutionOptions, run
from attn.viz.figures import Subject, in_shared_colours, new_figure, render, write
from attn.viz.words.evolution import draw
from tests.helpers.toy_traces import JOINT, make_trace, manifest

ABOUT = Subject("A cat, a bobcat", 7, "toy", (np.full((24, 40, 3), 90, np.uint8), None))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Draw everything of a toy trace of three steps and two samples; return the folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for picture in draw(run(make_trace(manifest(JOINT)), EvolutionOptions(word="cat")), ABOUT):
        write(picture, folder, ABOUT.texts)
    return folder / "evolution"


def test_files(pictures):
    """Each sample has its GIF, its page, its correlations and its balance."""
    names = ["attention_evolution", "attention_evolution_grid", "correlation", "segments"]
    expected = [f"{name}-sample-{sample}" for name in names for sample in (0, 1)]
    assert sorted(path.stem for path in pictures.iterdir()) == sorted(expected)


def test_samples_are_told_apart():
    """Pages of several samples say which one they are about; that of a single one does not."""
    for samples in (1, 2):
        trace = make_trace(manifest(JOINT, samples=samples))
        about = replace(ABOUT, images=ABOUT.images[:samples])
        drawn = [
            item
            for item in draw(run(trace, EvolutionOptions(word="cat")), about)
            if hasattr(item, "figure")
        ]
        said = [" ".join(text.get_text() for text in item.figure.texts) for item in drawn]
        told = [" · sample 0", " · sample 1"][:samples]
        assert len(said) == 3 * samples
        for number, text in enumerate(said):
            assert [item in text for item in told] == [
                samples > 1 and number // 3 == sample for sample in range(samples)
            ]


@pytest.mark.parametrize(
    ("segment", "told", "unit"),
    [
        (None, " · clip + t5 · ", "attention probability of clip + t5"),
        ("t5", " · t5 · ", "attention probability"),
    ],
)
def test_encoders(segment, told, unit):
    """Pages and frames say of which encoders the tokens are, and that they are added up."""
    trace = make_trace(manifest(JOINT, samples=1))
    result = run(trace, EvolutionOptions(word="cat", segment=segment))
    grid, film, *_ = draw(result, replace(ABOUT, images=ABOUT.images[:1]))
    assert told in grid.figure.texts[1].get_text()
    for picture in (grid, film):
        assert picture.texts["segment"] == told.strip(" ·")
        assert picture.texts["unit"].startswith(unit)
    assert grid.figure.axes[-1].get_xlabel() == f"{unit}, the same scale in every step"


def test_scale_of_each_step():
    """With scales of their own, the steps of the page name them; the animation has one for all."""
    trace = make_trace(manifest(JOINT, samples=1))
    result = run(trace, EvolutionOptions(word="cat", scale="own"))
    page, _, *_ = draw(result, replace(ABOUT, images=ABOUT.images[:1]))
    maps = result.arrays["maps"][0].values
    expected = [f"{step_map.min():.3g} to {step_map.max():.3g}" for step_map in maps]
    told = [text.get_text() for axes in page.figure.axes for text in axes.texts]
    assert [text for text in told if " to " in text] == expected
    assert "each step on its own scale" in page.figure.axes[-1].get_xlabel()


def test_gif(pictures):
    """The GIF has a frame per step, not square, with the request in its comment."""
    with Image.open(pictures / "attention_evolution-sample-0.gif") as gif:
        assert gif.n_frames == 3
        frames = []
        for step in range(3):
            gif.seek(step)
            frames.append(np.asarray(gif.convert("RGB")))
        assert gif.info["duration"] == 1600
        gif.seek(0)
        assert b"prompt: A cat, a bobcat" in gif.info["comment"]
    assert frames[0].shape[0] != frames[0].shape[1]
    bars = [frame[-110:-20] for frame in frames]
    assert (bars[0] == bars[1]).all()  # the same scale
    assert (frames[0] != frames[1]).any()


def test_colours_of_later_frames():
    """A frame keeps colours that the first one does not have, and colours of both stay equal."""

    def figures():
        for name in ("Greys", "viridis"):
            figure = new_figure(2.1, 1.3)
            axes = figure.add_axes((0.0, 0.2, 1.0, 0.8))
            axes.imshow(np.linspace(0, 1, 210)[None], aspect="auto", cmap=name)
            axes.set_axis_off()
            yield figure

    frames = [np.asarray(image.convert("RGB"), int) for image in in_shared_colours(figures())]
    for frame, figure in zip(frames, figures(), strict=True):
        assert np.abs(frame - np.asarray(render(figure), int)).max() <= 16
    assert (frames[0][-5:] == frames[1][-5:]).all()
