"""Pictures of word maps."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from attn.analysis.result import Result
from attn.viz.figures import FigureFile, Subject, write
from attn.viz.words.heatmaps import draw, draw_sheet, draw_word

WORDS = ["a", "rusty", "barn"]
HEADING = ("a rusty barn", "toy")
PICTURE = np.full((30, 50, 3), 200, np.uint8)


def maps(words=WORDS, scale="shared", samples=1, kind="words"):
    """Return maps on a grid of 3 × 5; each word's largest value is its place plus 1, in percent."""
    heat = np.random.default_rng(0).random((samples, len(words), 3, 5))
    heat /= heat.max((2, 3), keepdims=True)
    return xr.DataArray(
        heat * (np.arange(len(words)) + 1)[:, None, None] / 100,
        dims=("sample", "word", "row", "column"),
        coords={
            "word": np.arange(len(words)) * 2,
            "text": ("word", list(words)),
            "label": ("word", list(words)),
        },
        attrs={
            "kind": kind,
            "segment": "clip",
            "branch": "cond",
            "measure": "map.image.text",
            "unit": "attention probability, mean over 2 layers",
            "layers": [1, 3],
            "steps": [0, 1, 2],
            "scale": scale,
        },
    )


def subject(*pictures, prompt="a rusty barn"):
    """Return what the pictures are about."""
    return Subject(prompt, 7, "toy", pictures)


def heats(figure):
    """Return the images of maps on a figure: they have one value per place, not three colours."""
    images = [image for axes in figure.axes for image in axes.images]
    return [image for image in images if image.get_array().ndim == 2]


def titles(figure):
    """Return all texts above axes."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_files():
    """There is a sheet and a picture per word, named after the word's place in the prompt."""
    pictures = list(draw(Result({}, {"clip": maps()}), subject(PICTURE)))
    assert [picture.path for picture in pictures] == [
        "clip/heatmaps/words.png",
        "clip/heatmaps/words/000-a.png",
        "clip/heatmaps/words/002-rusty.png",
        "clip/heatmaps/words/004-barn.png",
    ]


def test_files_of_phrases():
    """Phrases have files of their own."""
    arrays = {"clip": maps(), "clip/phrases": maps(["rusty barn"], kind="phrases")}
    paths = [picture.path for picture in draw(Result({}, arrays), subject(PICTURE))]
    assert paths[4:] == ["clip/heatmaps/phrases.png", "clip/heatmaps/phrases/000-rusty-barn.png"]


def test_files_of_samples():
    """With several samples every file says whose it is."""
    pictures = draw(Result({}, {"clip": maps(["a"], samples=2)}), subject(PICTURE, PICTURE))
    assert [picture.path for picture in pictures] == [
        "clip/heatmaps/words-sample-0.png",
        "clip/heatmaps/words/000-a-sample-0.png",
        "clip/heatmaps/words-sample-1.png",
        "clip/heatmaps/words/000-a-sample-1.png",
    ]


def test_sheet():
    """The sheet has the picture, every word with its mean, one colour bar with its unit."""
    array = maps()[0]
    figure = draw_sheet(array, PICTURE, HEADING)
    assert len(heats(figure)) == 3
    means = [f"{float(mean):.2g}" for mean in array.mean(("row", "column"))]
    assert titles(figure) == [text for pair in zip(means, WORDS, strict=True) for text in pair]
    assert figure.axes[-1].get_xlabel() == "attention probability, mean over 2 layers"
    assert figure.texts[0].get_text() == "a rusty barn"


def test_one_scale():
    """The words of a sheet, and their own pictures, share a scale from 0 to the largest value."""
    array = maps()[0]
    figures = [draw_sheet(array, PICTURE, HEADING), draw_word(array, 0, PICTURE)]
    scales = {image.get_clim() for figure in figures for image in heats(figure)}
    scales |= {figure.axes[-1].get_xlim() for figure in figures[:1]}
    assert scales == {(0, float(array.max()))}


def test_own_scale():
    """With `scale="own"` a word's own picture fills its colour bar."""
    (image,) = heats(draw_word(maps(scale="own")[0], 0, PICTURE))
    assert image.get_clim() == (0.0, pytest.approx(0.01))


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (20, 90)])
def test_shape_of_a_picture(height, width):
    """The map covers the whole picture, and neither is stretched."""
    picture = np.zeros((height, width, 3), np.uint8)
    figure = draw_word(maps()[0], 4, picture)
    below, heat = figure.axes[0].images
    assert tuple(heat.get_extent()) == tuple(below.get_extent())
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(height / width)
    assert max(box.height, box.width) == pytest.approx(900)


def test_without_picture():
    """A trace without a picture, such as a partial one, is drawn over grey in the grid's shape."""
    figure = draw_sheet(maps()[0], None, HEADING)
    assert len(heats(figure)) == 3
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(3 / 5)


def test_zeros():
    """A map of zeros is drawn, on the scale from 0 to 1."""
    (image,) = heats(draw_word(maps(["a"])[0] * 0, 0, PICTURE))
    assert image.get_clim() == (0, 1)


def test_png(tmp_path):
    """The file is a PNG of the stated size with the picture in it and what it is in its texts."""
    (_, word) = draw(
        Result({}, {"clip": maps(["猫"])}), subject(PICTURE, prompt="猫 🦄 in\na garden")
    )
    about = Subject("猫 🦄 in\na garden", 7, "toy", (), {"model_id": "m"}).texts
    write(word, tmp_path, about)
    with Image.open(tmp_path / word.path) as image:
        assert image.format == "PNG"
        assert image.size == tuple(word.figure.get_size_inches() * 150)
        assert image.size[0] == 900 + 2 * 45
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 100
        texts = {key: str(text) for key, text in image.info.items()}
    assert texts.pop("Software").startswith("attn")
    assert texts.pop("dpi").startswith("(150.")
    assert texts == {
        "prompt": "猫 🦄 in\na garden",
        "seed": "7",
        "backend": "toy",
        "model_id": "m",
        "segment": "clip",
        "branch": "cond",
        "measure": "map.image.text",
        "unit": "attention probability, mean over 2 layers",
        "layers": "1,3",
        "shown_steps": "0-2",
        "sample": "0",
        "word": "猫",
    }


def test_colours(tmp_path):
    """On the page, a place that gets nothing stays grey and one that gets most is bright yellow."""
    array = maps(["a"])[0] * 0
    array[0, :, 3:] = 1.0
    write(FigureFile("word.png", draw_word(array, 0, PICTURE), {}), tmp_path)
    with Image.open(tmp_path / "word.png") as image:
        left, right = image.getpixel((150, 300)), image.getpixel((850, 300))
    assert max(left) - min(left) < 10
    assert right[0] > 200
    assert right[0] - right[2] > 30


def test_a_peak_keeps_its_colour(tmp_path):
    """A peak of a single token has the colour of the scale's end, as the bar says."""
    array = maps(["a"])[0] * 0
    colours = []
    for name, columns in (("peak", slice(2, 3)), ("row", slice(None))):
        array[0, 1, columns] = 1.0
        write(FigureFile(f"{name}.png", draw_word(array, 0, PICTURE), {}), tmp_path)
        with Image.open(tmp_path / f"{name}.png") as image:
            colours.append(image.getpixel((495, 90 + 270)))
    assert np.abs(np.subtract(*colours)).max() < 10


def test_global_state():
    """Drawing leaves matplotlib's settings alone and opens no pyplot figure."""
    before = dict(mpl.rcParams)
    list(draw(Result({}, {"clip": maps()}), subject(PICTURE)))
    assert dict(mpl.rcParams) == before
