"""Drawings that are images in memory, as people have them in a notebook."""

import numpy as np
import pytest
from PIL import Image

import attn
from attn.errors import UsageError
from attn.verbs.capture.drawings import drawing_file
from attn.verbs.compare.runs.sketch_runs import parse_sketches
from tests.helpers import sketches

SMALL = {"model": "demo:sd15", "steps": 2, "size": (96, 64)}


def test_an_image_is_a_drawing(demo_cache, tmp_path):
    """An image of Pillow and the file of it make the same trace, word for word."""
    image = sketches.ring()
    image.save(tmp_path / "ring.png")
    runs = [
        attn.capture("scribble", "a red cat", sketch=sketch, out=tmp_path / name, **SMALL).trace
        for name, sketch in (("file", tmp_path / "ring.png"), ("image", image))
    ]
    assert runs[0].sketch().read_bytes() != b""
    strokes = [np.asarray(Image.open(run.sketch())) for run in runs]
    assert (strokes[0] == strokes[1]).all()
    maps = [run.word_maps("cat", tower="denoiser") for run in runs]
    assert maps[0].identical(maps[1])


def test_equal_images_are_one_file(demo_cache, tmp_path):
    """A drawing is named by its content, so that a run can be resumed with the same image."""
    names = {drawing_file(sketches.ring(width=width)) for width in (3, 3, 5)}
    assert len(names) == 2
    assert drawing_file("none") == "none"
    assert drawing_file(tmp_path) == str(tmp_path)


@pytest.mark.parametrize("as_list", [True, False])
def test_compared(demo_cache, as_list):
    """Images can be compared with each other and with none; one alone has nothing beside it."""
    if as_list:
        variants = parse_sketches([sketches.ring(), "none", sketches.ring(width=5)])
        assert [settings["sketch"] == "none" for settings in variants.values()] == [0, 1, 0]
        return
    with pytest.raises(UsageError, match="name what to compare with"):
        parse_sketches(sketches.ring())


def test_an_image_of_no_png(demo_cache):
    """Modes that no PNG has are refused with what to do."""
    expected = (
        "sketch: an image of 97x71 pixels in mode CMYK cannot be kept as PNG; give "
        'image.convert("RGB")'
    )
    with pytest.raises(UsageError) as caught:
        drawing_file(sketches.ring().convert("CMYK"))
    assert str(caught.value) == expected
