"""Drawings are read whatever their form, and laid out so that no stroke vanishes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from attn.backends.families.scribble.drawing import (
    Sketch,
    as_image,
    describe,
    fit_size,
    fit_strokes,
    read_sketch,
)
from attn.errors import RequestError, UsageError
from tests.helpers import sketches


@pytest.mark.parametrize("form", sketches.FORMS)
def test_forms(tmp_path, form):
    """The same drawing in any mode and polarity gives the same strokes, and its ground is found."""
    make, ground, ending = sketches.FORMS[form]
    options = {"quality": 100, "subsampling": 0} if ending == ".jpg" else {}
    result = read_sketch(sketches.save(tmp_path, image=make(), ending=ending, **options))
    expected = np.asarray(sketches.ring()) < 128
    assert result.ground == ground
    assert (result.strokes == expected).mean() == (
        1 if ending == ".png" else pytest.approx(1, abs=0.01)
    )


def test_ground_is_told(tmp_path):
    """What the user says of the ground wins over what is seen, and the description says so."""
    path = sketches.save(tmp_path)
    seen, told = read_sketch(path), read_sketch(path, "dark")
    assert (told.strokes == ~seen.strokes).all()
    assert describe(seen) == (
        "sketch: dark strokes on light ground, 5.17 % of the picture "
        "(detected; --set ground=dark for the other way round)"
    )
    assert describe(told) == (
        "sketch: light strokes on dark ground, 94.8 % of the picture (as told); more strokes than "
        "ground: are they the wrong way round?"
    )


def test_upright(tmp_path):
    """A photo of a drawing that says how the camera was held is turned upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    result = read_sketch(sketches.save(tmp_path, exif=exif.tobytes()))
    assert result.size == sketches.SIZE[::-1]


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
    "missing": (
        lambda folder: folder / "no.png",
        "the file or its folder does not exist",
    ),
    "a folder": (
        lambda folder: folder,
        "this is a folder; expected a regular file",
    ),
    "a text": (text, r"no picture that can be read \(it begins with b'hello, I am a te'\)"),
    "an empty file": (nothing, r"no picture that can be read \(the file is empty\)"),
    "half a file": (half, "it is damaged: image file is truncated"),
    "animated": (animated, "has several frames, expected one picture"),
}
EMPTY = {
    "empty": (Image.new("L", (31, 17), 255), "its 31x17 pixels are alike"),
    "white on white": (
        sketches.ring(ground=255, stroke=250),
        "its 97x71 pixels differ by at most 5 of 255 levels",
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
    result = read_sketch(sketches.save(tmp_path, image=Image.fromarray(pixels)))
    assert (result.strokes.tolist(), result.ground) == ([[False, True]], "dark")


def rings(colours, ground="white", scale=1):
    """Draw a ring of each colour; return the picture, smooth if scaled, and where each ring is."""
    size = (211, 97)
    image, indices = Image.new("RGB", (scale * size[0], scale * size[1]), ground), []
    for number, colour in enumerate(colours):
        box = [scale * side for side in (7 + 67 * number, 23, 61 + 67 * number, 71)]
        mask = Image.new("L", image.size, 0)
        for drawn, ink in ((image, colour), (mask, 255)):
            ImageDraw.Draw(drawn).ellipse(box, outline=ink, width=3 * scale)
        indices.append(np.asarray(mask.resize(size, Image.Resampling.BOX)) > 128)
    return image.resize(size, Image.Resampling.BOX), indices


GREY = (150, 150, 150)
SEVERAL = {
    "colours": (["red", "black", (255, 140, 0)], "white"),
    "pencils": ([(200, 200, 200), "black", GREY], "white"),
    "faint": (["black", (205, 205, 205), (215, 215, 215)], "white"),
    "on black": (["white", (90, 90, 90), "blue"], "black"),
    "equal brightness": ([(98, 0, 0)], "blue"),
}


@pytest.mark.parametrize("scale", [1, 4], ids=["hard", "smooth"])
@pytest.mark.parametrize("case", SEVERAL)
def test_several_strokes(tmp_path, case, scale):
    """Strokes that are easily seen are kept beside stronger ones, in any colour."""
    colours, ground = SEVERAL[case]
    image, indices = rings(colours, ground, scale)
    result = read_sketch(sketches.save(tmp_path, image=image))
    assert min(result.strokes[index].mean() for index in indices) > (0.99 if scale == 1 else 0.8)
    assert (result.strokes & ~np.any(indices, 0)).mean() < (1e-9 if scale == 1 else 0.02)
    assert "left out" not in describe(result)


def test_one_dot(tmp_path):
    """A single darker pixel does not make a whole drawing faint."""
    image, (index,) = rings([GREY])
    image.putpixel((209, 3), (0, 0, 0))
    result = read_sketch(sketches.save(tmp_path, image=image))
    assert result.strokes.sum() == index.sum() + 1


PAPERS = {
    "noise": (np.zeros(211), 12),
    "shadow": (np.linspace(0, 60, 211), 3),
}


@pytest.mark.parametrize("case", PAPERS)
def test_paper(tmp_path, case):
    """Noise and shadows of a scanned paper are no strokes, and not worth a word."""
    shade, noise = PAPERS[case]
    image, (index,) = rings(["black"])
    grey = np.asarray(image.convert("L"), float) * 0.9 + 15 - shade
    grey += np.random.default_rng(7).normal(0, noise, grey.shape)
    scan = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    result = read_sketch(sketches.save(tmp_path, image=scan))
    assert (result.strokes == index).all()
    assert "left out" not in describe(result)


def test_strokes_of_every_strength(tmp_path):
    """Where strokes fade into the ground, how much is left out is said."""
    pixels = np.full((71, 97), 255, np.uint8)
    pixels[30:33] = np.linspace(0, 255, 97)
    result = read_sketch(sketches.save(tmp_path, image=Image.fromarray(pixels)))
    strengths = 255.0 - pixels[31]
    kept, clear = (strengths > 255 / 2).sum(), (strengths > 64).sum()
    lost = (clear - kept - 1) / (clear - 1)  # the first that is too faint touches a stroke
    assert result.strokes.sum() == 3 * kept
    assert f"; {100 * lost:.3g} % of what differs from the ground is left out" in describe(result)


def test_no_numbers(tmp_path):
    """Pixels that are not numbers, which scientific TIFFs have, are refused and counted."""
    levels = np.zeros((17, 31), np.float32)
    levels[3, 5:8] = (np.nan, np.inf, 1)
    path = sketches.save(tmp_path, image=Image.fromarray(levels), ending=".tif")
    with pytest.raises(UsageError, match="2 of its 527 pixels are NaN or infinite; save it as a"):
        read_sketch(path)


def test_nothing_but_strokes(tmp_path):
    """A drawing without a pixel of the ground that was said is refused, not measured in parts."""
    image = sketches.ring(ground=90, stroke=10)
    with pytest.raises(RequestError, match=r"has no light ground: .* grey levels 10 to 90"):
        read_sketch(sketches.save(tmp_path, image=image), "light")


def test_too_long(tmp_path):
    """A drawing of which padding leaves a hair is refused with what to do; stretching works."""
    long = sketches.save(tmp_path, image=sketches.ring((20000, 10), width=1))
    result = read_sketch(long)
    with pytest.raises(RequestError, match="20000x10: inside 512x512 it would be 512x0 pixels"):
        fit_strokes(result, 512, 512, "pad")
    assert fit_strokes(result, 512, 512, "stretch").shape == (512, 512)
    assert "it is stretched to its shape" in fit_size(result, 512, 512, "stretch")[1]


def test_padded(tmp_path):
    """A drawing of another shape keeps its proportions, in the middle, and the user is told."""
    result = read_sketch(sketches.save(tmp_path))
    placed = fit_strokes(result, 97, 191, "pad")
    _, remark = fit_size(result, 97, 191, "pad")
    assert not placed[:60].any()
    assert (placed[60:131] == result.strokes).all()
    assert not placed[131:].any()
    assert remark.startswith("the sketch is 97x71, the picture 97x191: it is padded to its shape")
    assert fit_size(result, 194, 142, "pad") == ((194, 142), "")


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
    placed = fit_strokes(Sketch(None, "", strokes, "dark", "told"), *target[::-1], "stretch")
    assert placed.shape == target
    where = np.argwhere(placed)
    centre = [(row + 0.5) / size[0], (column + 0.5) / size[1]]
    reach = [1 / short + 1 / long for short, long in zip(target, size, strict=True)]
    assert len(where)
    assert (abs((where + 0.5) / target - centre) <= reach).all()


def test_as_picture():
    """Models get white strokes on black, or the other way round where they were trained so."""
    strokes = np.eye(3, 5) > 0
    assert np.asarray(as_image(strokes))[..., 1].tolist() == (255 * np.eye(3, 5)).tolist()
    other = as_image(strokes, dark=True)
    assert (np.asarray(other) == 255 - np.asarray(as_image(strokes))).all()
    assert (as_image(strokes).info["ground"], other.info["ground"]) == ("dark", "light")


def test_edges(tmp_path):
    """The edges of a photo are those that OpenCV finds."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'attn[sketch]'")
    photo = sketches.ring(ground=200, stroke=30, width=20)
    path = sketches.save(tmp_path, image=photo)
    result = read_sketch(path, edges=True)
    assert (result.strokes == (cv2.Canny(np.asarray(photo), 50, 150) > 0)).all()
    assert "edges of the photo by Canny" in describe(result)


def test_edges_without_opencv(tmp_path, monkeypatch):
    """Where OpenCV is missing, its absence is said with what to install."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    path = sketches.save(tmp_path, image=sketches.ring(ground=200, stroke=30, width=20))
    with pytest.raises(UsageError, match=r"need OpenCV, .*pip install 'attn\[sketch\]'"):
        read_sketch(path, edges=True)


PEAK = """
import sys
from pathlib import Path
from attn.backends.families.scribble.drawing import read_sketch

def peak():
    (line,) = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000

read_sketch(sys.argv[1])
before = peak()
read_sketch(sys.argv[2])
print(peak() - before)
"""  # getrusage would tell the peak of the process that started this one


@pytest.mark.slow
def test_memory_of_a_large_drawing(tmp_path):
    """The largest drawing with transparent pixels takes less than 500 MB above a small one."""
    pixels = np.full((4003, 3989, 4), 255, np.uint8)
    pixels[101:401, 53:3001, :3] = 0
    pixels[:53, :, 3] = 97
    large = sketches.save(tmp_path, "large", Image.fromarray(pixels), compress_level=1)
    small = sketches.save(tmp_path, image=sketches.transparent(sketches.ring()))
    command = [sys.executable, "-c", PEAK, str(small), str(large)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 0 < float(output) < 500
