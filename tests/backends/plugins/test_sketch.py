"""Drawings that are compared with a backend of another package."""

import sys
from pathlib import Path

import pytest
from PIL import Image

import attn
from attn.backends import find
from attn.errors import UsageError

CODE = """
OPENED = []

def load_drawn():
    from dataclasses import dataclass, field
    from attn.backends.testing import FakeBackend, FakeOptions

    @dataclass(frozen=True)
    class Options(FakeOptions):
        sketch: str = field(default="none", metadata={{"help": "the drawing"}})

    class Drawn(FakeBackend):
        request_options = {varying}

        def open(self, source, options, placement):
            OPENED.append(options.sketch)
            return super().open(source, options, placement)

    Drawn.Options = Options
    return Drawn()

@hookimpl
def attn_backends():
    return [BackendSpec("drawn", "With a drawing", load_drawn, takes=("drawings",))]
"""


def draw(path):
    """Write a drawing."""
    Image.new("L", (13, 7), 255).save(path)
    return path


@pytest.mark.parametrize(
    ("varying", "opened"), [((), ["a.png", "none", "b.png"]), (("sketch",), ["none"])]
)
def test_every_variant_has_its_drawing(install, tmp_path, varying, opened):
    """Unless its requests have the drawing, each variant is opened with its own."""
    install("attn-drawn", CODE.format(varying=varying))
    drawings = [str(draw(tmp_path / name)) for name in ("a.png", "b.png")]
    attn.compare(
        sketch=[drawings[0], "none", drawings[1]],
        backend="drawn",
        prompt="a red cat",
        out=tmp_path / "out",
        dry_run=True,
    )
    assert opened == [Path(name).name for name in sys.modules["attn_drawn"].OPENED]


def test_unknown_request_options(install):
    """Names that are no options are refused before they are relied on."""
    install("attn-drawn", CODE.format(varying=("drawing",)))
    from attn.backends import load
    from attn.errors import PluginError

    with pytest.raises(PluginError, match=r"request_options: got \('drawing',\), expected a tuple"):
        load(find("drawn"))


def test_who_takes_drawings_is_told(install, tmp_path):
    """A backend without drawings names those of other packages too."""
    install("attn-drawn", CODE.format(varying=()))
    drawing = str(draw(tmp_path / "a.png"))
    with pytest.raises(UsageError, match="--backend drawn does: With a drawing"):
        attn.compare(sketch=[drawing, "none"], backend="sdxl", out=tmp_path / "out")
