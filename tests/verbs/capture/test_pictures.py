"""`attn capture --picture`: what is read, kept and refused before a model is loaded."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.verbs.capture.drawings import read_picture
from attn.verbs.capture.options import CaptureOptions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a picture, masks, and what is none."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 80), "red").save("photo.png")
    for name, size, level in (
        ("mask", (48, 80), 255),
        ("black", (48, 80), 0),
        ("wide", (80, 48), 255),
    ):
        Image.new("L", size, level).save(f"{name}.png")
    (tmp_path / "text.png").write_text("a cat")
    return tmp_path


PHOTO = ("--picture", "photo.png")
WRONG = {
    ("--noise", "0.3"): (2, "noise: of which picture? give it with --picture"),
    ("--mask-picture", "mask.png"): (2, "mask_picture: of which picture?"),
    (*PHOTO, "--noise", "0.3,1.2"): (2, "noise: expected numbers above 0, up to 1"),
    (*PHOTO, "--strength", "0"): (2, "strength: expected a number above 0, up to 1; got 0"),
    (*PHOTO, "--noise", "0.3", "--strength", "1"): (2, "noise shows the picture as it is"),
    (*PHOTO, "--steps", "3"): (2, "steps: each level of --noise is a step"),
    (*PHOTO, "--mask-picture", "wide.png"): (1, "wide.png is 80x48, the picture 48x80"),
    (*PHOTO, "--mask-picture", "black.png"): (1, "black.png is white nowhere"),
    ("--picture", "text.png"): (1, "picture: text.png is no picture: it begins with b'a cat'"),
    ("--picture", "none.png"): (1, "none.png"),
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_pictures(arguments, folder):
    """What cannot be shown is one line, before anything is written."""
    command = ["capture", "-b", "sd15", "-p", "a red cat", "-o", "out", *arguments]
    result = CliRunner().invoke(build(), command)
    code, message = WRONG[arguments]
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert not (folder / "out").exists()


def test_model_without_a_vae(folder):
    """A backend that shows no picture is named."""
    command = ["capture", "-b", "mmada", "-p", "a red cat", *PHOTO, "--dry-run"]
    result = CliRunner().invoke(build(), command)
    assert result.exit_code == 1
    assert "backend 'mmada' shows its model no picture that exists" in result.stderr


def test_levels_are_steps(folder):
    """Levels are those that were named, once each, the largest first; some if none are."""
    options = CaptureOptions("sd15", "a cat", picture="photo.png", noise=(0.3, 0.6, 0.3))
    assert read_picture(options).noise == (0.6, 0.3)
    assert read_picture(CaptureOptions("sd15", "a cat", picture="photo.png")).noise == (0.6, 0.3)
    assert read_picture(CaptureOptions("sd15", "a cat", picture="photo.png", noise=1)).noise == (1,)
    masked = CaptureOptions("sd15", "a cat", picture="photo.png", mask_picture="mask.png")
    assert (read_picture(masked).strength, read_picture(masked).noise) == (1.0, ())


@pytest.mark.slow
@pytest.mark.usefixtures("demo_cache")
def test_trace_of_a_picture(folder):
    """The trace has a step of each level, the picture itself, and what it is."""
    options = {"picture": "photo.png", "noise": (0.3, 0.6), "size": (48, 80), "out": "out"}
    trace = attn.capture("sd15", "a red cat", **options).trace
    assert [round(step.noise, 1) for step in trace.steps] == [0.6, 0.3]
    assert trace.manifest.request.picture.noise == (0.6, 0.3)
    with Image.open("photo.png") as photo, Image.open(trace.image()) as shown:
        assert np.array_equal(np.asarray(photo), np.asarray(shown))
    Image.new("RGB", (48, 80), "blue").save("photo.png")
    with pytest.raises(attn.AttnError, match=r"picture: .* at noise 0\.6,0\.3"):
        attn.capture("sd15", "a red cat", **options, resume=True)
