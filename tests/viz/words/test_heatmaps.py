"""Pictures of word maps."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from attn.analysis.result import Result
from attn.viz.figures import Subject, render, write
from attn.viz.words.heatmaps import draw, draw_sheet, draw_word

WORDS = ["a", "rusty", "barn"]
HEADING = ("a rusty barn", "toy")
PICTURE = np.full((30, 50, 3), 200, np.uint8)
TRUE = 2
"""So far of 255 a cell's colour may be from that of the bar."""


def maps(words=WORDS, scale="auto", samples=1, kind="words"):
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
            "mass": (("sample", "word"), np.full((samples, len(words)), 0.1)),
            "winner": (("sample", "row", "column"), np.zeros((samples, 3, 5), int)),
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
            "dominance": "lift",
            "rivals": [0],
            "left_out": 0,
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
        "clip/heatmaps/words-own-scale.png",
        "clip/heatmaps/words/000-a.png",
        "clip/heatmaps/words/002-rusty.png",
        "clip/heatmaps/words/004-barn.png",
        "clip/base_analysis/pixel_dominant_tokens.png",
        "clip/base_analysis/grid_analysis_4x4.png",
        "clip/base_analysis/grid_analysis_8x8.png",
        "clip/base_analysis/token_attention_distribution.png",
    ]


def test_files_of_phrases():
    """Phrases have files of their own."""
    arrays = {"clip": maps(), "clip/phrases": maps(["rusty barn"], kind="phrases")}
    paths = [picture.path for picture in draw(Result({}, arrays), subject(PICTURE))]
    assert paths[9:] == [
        "clip/heatmaps/phrases.png",
        "clip/heatmaps/phrases-own-scale.png",
        "clip/heatmaps/phrases/000-rusty-barn.png",
    ]


def test_files_of_samples():
    """With several samples every file says whose it is."""
    array = maps(["a"], samples=2, kind="phrases", scale="own")
    pictures = draw(Result({}, {"clip": array}), subject(PICTURE, PICTURE))
    assert [picture.path.replace("phrases", "words") for picture in pictures] == [
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
    means = [f"mean {float(mean):.3g}" for mean in array.mean(("row", "column"))]
    assert titles(figure) == [text for pair in zip(means, WORDS, strict=True) for text in pair]
    unit = "attention probability, mean over 2 layers · all panels on this scale"
    assert figure.axes[-1].get_xlabel() == unit
    assert figure.texts[0].get_text() == "a rusty barn"


@pytest.mark.parametrize("scale", ["auto", "shared", "own"])
def test_scale(scale):
    """Sheets are on one scale, files on their own, unless the option says otherwise; all say it."""
    array = maps(scale=scale)[0]
    shared = (0, float(array.max()))
    single = [draw_word(array, word, PICTURE, subject()) for word in (0, 2, 4)]
    ranges = [(float(of_word.min()), float(of_word.max())) for of_word in array]
    clims = [heats(figure)[0].get_clim() for figure in single]
    assert clims == ([shared] * 3 if scale == "shared" else ranges)
    sheet = draw_sheet(array, PICTURE, HEADING, "own")
    assert [image.get_clim() for image in heats(sheet)] == ranges
    assert [text for text in titles(sheet) if " to " in text] == [
        f"{low:.3g} to {high:.3g}" for low, high in ranges
    ]
    assert "each panel on its own scale" in sheet.axes[-1].get_xlabel()
    (same,) = {image.get_clim() for image in heats(draw_sheet(array, PICTURE, HEADING))}
    assert same == shared


def test_dark_panels_have_a_reason():
    """A word that is all but black on the scale of all is explained below; else nothing is."""
    array = maps()[0]
    dark = array.copy(data=array.values * np.array([1, 0.1, 1])[:, None, None])
    labels = [draw_sheet(each, PICTURE, HEADING).axes[-1].get_xlabel() for each in (array, dark)]
    assert ["a dark panel" in label for label in labels] == [False, True]


def read_cells(figure, heat, image_axes):
    """Return the colours of a map's cells on the page, and those of the bar for their values."""
    axes = next(axes for axes in figure.axes[image_axes:] if heats(figure)[0] in axes.images)
    bar, norm = figure.axes[-1], heats(figure)[0].norm
    boxes = [each.get_window_extent().bounds for each in (axes, bar)]
    pixels = np.asarray(render(figure), int)
    (left, low, width, height), (start, base, length, thick) = boxes
    top = pixels.shape[0] - low - height
    for (row, column), value in np.ndenumerate(heat):
        y = [top + (row + part) * height / heat.shape[0] for part in (0.25, 0.5, 0.75)]
        x = [left + (column + part) * width / heat.shape[1] for part in (0.25, 0.5, 0.75)]
        inside = pixels[np.ix_(np.int_(y), np.int_(x))].reshape(-1, 3)
        at = start + (min(int(256 * norm(value)), 255) + 0.5) / 256 * length  # of 256 colours
        yield inside, pixels[int(pixels.shape[0] - base - thick / 2), int(at)]


@pytest.mark.parametrize("image", [PICTURE, np.zeros_like(PICTURE), None])
def test_every_cell_has_the_colour_of_the_bar(image):
    """Read back from the page, the colour of every cell is the bar's to 2 of 255."""
    array = maps()[0]
    figure = draw_word(array, 4, image, subject())
    compared = list(read_cells(figure, array.values[2], 0 if image is None else 1))
    assert len(compared) == 15
    for inside, expected in compared:
        assert np.abs(inside - expected).max() <= TRUE


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (20, 90)])
def test_shape_of_a_picture(height, width):
    """The map has the shape of the image beside it, and neither is stretched."""
    picture = np.zeros((height, width, 3), np.uint8)
    figure = draw_word(maps()[0], 4, picture, subject())
    boxes = [axes.get_window_extent() for axes in figure.axes[:2]]
    for box in boxes:
        assert box.height / box.width == pytest.approx(height / width)
        assert max(box.height, box.width) == pytest.approx(690)


def test_outlines_of_an_image():
    """Where the image is bright and dark, thin lines run; an even one has none."""
    parted = PICTURE.copy()
    parted[:, 20:] = 20
    counts = [
        len(draw_word(maps()[0], 4, image, subject()).axes[1].collections)
        for image in (PICTURE, parted)
    ]
    assert counts == [0, 1]


def test_words_that_are_not_drawn():
    """A page of some of the words says how many more there are."""
    array = maps().assign_attrs(left_out=2)
    sheet, *rest = draw(Result({}, {"clip": array}), subject(PICTURE))
    assert sheet.figure.texts[1].get_text().endswith(" · 2 more words in the tables")
    distribution = rest[-1].figure
    assert any("2 more words in the tables" in text.get_text() for text in distribution.texts)


def test_without_picture():
    """A trace without a picture, such as a partial one, is drawn in the grid's shape."""
    figure = draw_sheet(maps()[0], None, HEADING)
    assert len(heats(figure)) == 3
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(3 / 5)


def test_zeros():
    """A map of zeros is drawn, on the scale from 0 to 1."""
    (image,) = heats(draw_word(maps(["a"])[0] * 0, 0, PICTURE, subject()))
    assert image.get_clim() == (0, 1)


def test_png(tmp_path):
    """The file is a PNG of the stated size with the picture in it and what it is in its texts."""
    array = maps(["猫"], kind="phrases", scale="own")
    (_, word) = draw(Result({}, {"clip": array}), subject(PICTURE, prompt="猫 🦄 in\na garden"))
    about = Subject("猫 🦄 in\na garden", 7, "toy", (), {"model_id": "m"}).texts
    write(word, tmp_path, about)
    with Image.open(tmp_path / word.path) as image:
        assert image.format == "PNG"
        assert image.size == tuple(np.round(word.figure.get_size_inches() * 150))
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
        "phrase": "猫",
    }


def test_global_state():
    """Drawing leaves matplotlib's settings alone and opens no pyplot figure."""
    before = dict(mpl.rcParams)
    list(draw(Result({}, {"clip": maps()}), subject(PICTURE)))
    assert dict(mpl.rcParams) == before
