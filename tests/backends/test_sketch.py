"""Drawings are read whatever their form, and laid out so that no stroke vanishes."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attn.backends._sketch import Sketch, as_picture, describe, place_strokes, read_sketch
from attn.errors import RequestError, UsageError
from tests import sketches


@pytest.mark.parametrize("form", sketches.FORMS)
def test_forms(tmp_path, form):
    """The same drawing in any mode and polarity gives the same strokes, and its ground is found."""
    make, ground, ending = sketches.FORMS[form]
    options = {"quality": 100, "subsampling": 0} if ending == ".jpg" else {}
    found = read_sketch(sketches.save(tmp_path, image=make(), ending=ending, **options))
    expected = np.asarray(sketches.ring()) < 128
    assert found.ground == ground
    assert (found.strokes == expected).mean() == (
        1 if ending == ".png" else pytest.approx(1, abs=0.01)
    )


def test_ground_is_told(tmp_path):
    """What the user says of the ground wins over what is seen, and the description says so."""
    path = sketches.save(tmp_path)
    seen, told = read_sketch(path), read_sketch(path, "dark")
    assert (told.strokes == ~seen.strokes).all()
    assert describe(seen) == (
        "sketch: dark strokes on light ground, 5.2% of the picture "
        "(detected; --set ground=dark for the other way round)"
    )
    assert describe(told) == (
        "sketch: light strokes on dark ground, 94.8% of the picture (as told); more strokes than "
        "ground: are they the wrong way round?"
    )


def test_upright(tmp_path):
    """A photo of a drawing that says how the camera was held is turned upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    found = read_sketch(sketches.save(tmp_path, exif=exif.tobytes()))
    assert found.size == sketches.SIZE[::-1]


def text(folder):
    """Write a text file that says it is a picture."""
    path = folder / "words.png"
    path.write_text("hello, I am a text")
    return path


def nothing(folder):
    """Write a file without a byte."""
    path = folder / "nothing.png"
    path.touch()
    return path


def half(folder):
    """Write the first half of a picture."""
    path = sketches.save(folder)
    path.write_bytes(path.read_bytes()[:150])
    return path


def animated(folder):
    """Write an animated GIF."""
    frames = [sketches.ring(width=width) for width in (1, 3, 5)]
    path = folder / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


BAD = {
    "missing": (lambda folder: folder / "no.png", "cannot read the sketch .*No such file"),
    "a folder": (lambda folder: folder, "cannot read the sketch .*Is a directory"),
    "a text": (text, r"no picture that can be read \(it begins with b'hello, I am a te'\)"),
    "an empty file": (nothing, r"no picture that can be read \(the file is empty\)"),
    "half a file": (half, "is no whole picture"),
    "animated": (animated, "has 3 frames, expected one picture"),
}
EMPTY = {
    "empty": (Image.new("L", (31, 17), 255), "its 31x17 pixels are alike"),
    "white on white": (
        sketches.ring(ground=255, stroke=250),
        "its 97x71 pixels differ by at most 5 of 255 grey levels",
    ),
    "transparent": (Image.new("RGBA", (31, 17), (0, 0, 0, 0)), "its 31x17 pixels are alike"),
    "one pixel": (Image.new("L", (1, 1), 0), "its 1x1 pixels are alike"),
}


@pytest.mark.parametrize("case", BAD)
def test_no_picture(tmp_path, case):
    """What is no picture is refused with what it is instead."""
    make, message = BAD[case]
    with pytest.raises(UsageError, match=message):
        read_sketch(make(tmp_path))


@pytest.mark.parametrize("case", EMPTY)
def test_empty(tmp_path, case):
    """A drawing without strokes is refused, however its emptiness looks."""
    image, message = EMPTY[case]
    with pytest.raises(RequestError, match=f"is empty: {message}; expected strokes"):
        read_sketch(sketches.save(tmp_path, image=image))


def test_two_pixels(tmp_path):
    """The least drawing that there is has one stroke, found without a warning."""
    pixels = np.array([[0, 255]], np.uint8)
    found = read_sketch(sketches.save(tmp_path, image=Image.fromarray(pixels)))
    assert (found.strokes.tolist(), found.ground) == ([[False, True]], "dark")


def test_nothing_but_strokes(tmp_path):
    """A drawing without a pixel of the ground that was said is refused, not measured in parts."""
    image = sketches.ring(ground=90, stroke=10)
    with pytest.raises(RequestError, match=r"has no light ground: .* grey levels 10 to 90"):
        read_sketch(sketches.save(tmp_path, image=image), "light")


def test_too_long(tmp_path):
    """A drawing of which padding leaves a hair is refused with what to do; stretching works."""
    long = sketches.save(tmp_path, image=sketches.ring((20000, 10), width=1))
    found = read_sketch(long)
    with pytest.raises(RequestError, match="20000x10: inside 512x512 it would be 512x0 pixels"):
        place_strokes(found, 512, 512, "pad")
    placed, remark = place_strokes(found, 512, 512, "stretch")
    assert placed.shape == (512, 512)
    assert "it is stretched to its shape" in remark


def test_padded(tmp_path):
    """A drawing of another shape keeps its proportions, in the middle, and the user is told."""
    found = read_sketch(sketches.save(tmp_path))
    placed, remark = place_strokes(found, 97, 191, "pad")
    assert not placed[:60].any()
    assert (placed[60:131] == found.strokes).all()
    assert not placed[131:].any()
    assert remark.startswith("the sketch is 97x71, the picture 97x191: it is padded to its shape")
    assert place_strokes(found, 194, 142, "pad")[1] == ""


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.data(),
)
def test_no_stroke_vanishes(size, target, data):
    """However small a drawing is made, every stroke of it leaves a pixel, and in its place."""
    strokes = np.zeros(size, bool)
    row, column = (data.draw(st.integers(0, side - 1)) for side in size)
    strokes[row, column] = True
    placed, _ = place_strokes(Sketch(None, "", strokes, "dark", "told"), *target[::-1], "stretch")
    assert placed.shape == target
    where = np.argwhere(placed)
    centre = [(row + 0.5) / size[0], (column + 0.5) / size[1]]
    reach = [1 / short + 1 / long for short, long in zip(target, size, strict=True)]
    assert len(where)
    assert (abs((where + 0.5) / target - centre) <= reach).all()


def test_as_picture():
    """Models get white strokes on black, or the other way round where they were trained so."""
    strokes = np.eye(3, 5) > 0
    assert np.asarray(as_picture(strokes))[..., 1].tolist() == (255 * np.eye(3, 5)).tolist()
    other = as_picture(strokes, dark=True)
    assert (np.asarray(other) == 255 - np.asarray(as_picture(strokes))).all()
    assert (as_picture(strokes).info["ground"], other.info["ground"]) == ("dark", "light")


def test_edges(tmp_path):
    """The edges of a photo are those that OpenCV finds."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'attn[sketch]'")
    photo = sketches.ring(ground=200, stroke=30, width=20)
    path = sketches.save(tmp_path, image=photo)
    found = read_sketch(path, edges=True)
    assert (found.strokes == (cv2.Canny(np.asarray(photo), 50, 150) > 0)).all()
    assert "edges of the photo by Canny" in describe(found)


def test_edges_without_opencv(tmp_path, monkeypatch):
    """Where OpenCV is missing, its absence is said with what to install."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    path = sketches.save(tmp_path, image=sketches.ring(ground=200, stroke=30, width=20))
    with pytest.raises(UsageError, match=r"need OpenCV, .*pip install 'attn\[sketch\]'"):
        read_sketch(path, edges=True)
