"""Letters of any script in pictures, with and without fonts that have them."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from attn.viz import fonts
from attn.viz.figures import choose_fonts, new_figure
from attn.viz.fonts import BOX, FAMILY, NOTE, boxed, families, font_runs, note_missing
from attn.viz.page import write_heading, write_title
from attn.viz.texts import animation

STIX = Path(matplotlib.get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")
RARE = "\u1d81"  # ᶁ, of these two fonts in STIX only


@pytest.fixture
def use_fonts(monkeypatch):
    """Let the system have only some fonts."""

    def use(*paths):
        monkeypatch.setattr(fonts, "_system_fonts", lambda: paths)
        fonts._font_with.cache_clear()

    yield use
    fonts._font_with.cache_clear()


def drawn(figure):
    """Draw a figure and return its texts with the names of their fonts."""
    choose_fonts(figure)
    figure.canvas.draw()
    return {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text)}


def page(text):
    """Return a page that has a text in its heading, a title, a legend and the marks of an axis."""
    figure = new_figure(5, 3)
    write_heading(figure, (text, "facts"))
    axes = figure.add_axes((0.3, 0.3, 0.5, 0.3))
    write_title(axes, text, size=11)
    axes.plot([0, 1], label=boxed(text))
    axes.set_xticks([0], [boxed(text)])
    figure.legend()
    return figure


def test_a_font_of_the_system(use_fonts):
    """A letter that the usual font lacks is drawn with the font that has it, wherever it stands."""
    use_fonts(STIX)
    shown = drawn(page(f"d{RARE}"))
    assert shown[f"d{RARE}"] == [FAMILY, "STIXGeneral"]
    assert shown["facts"] == [FAMILY]
    assert NOTE not in shown


def test_no_font(use_fonts):
    """Without a font the picture has a box, and says what to install; nothing warns."""
    use_fonts()
    shown = drawn(page("a 猫"))
    assert {f"a {BOX}", NOTE} <= shown.keys()
    assert not any("U+" in text or "猫" in text for text in shown)


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("猫 고", "fonts-noto-cjk"),
        ("बिल्ली แมว", "fonts-noto-core"),
        ("cat 🐈", "fonts-symbola"),
        ("猫 🐈", "fonts-noto-cjk and fonts-symbola"),
    ],
)
def test_packages(use_fonts, text, packages):
    """The remark names Debian's package for the script that is lacking."""
    use_fonts()
    assert note_missing([text]) == (
        f"pictures have {BOX} for letters that no font here has: install {packages}",
    )


def test_nothing_is_missing(use_fonts):
    """No remark is made of letters that are drawn, nor of those that cannot be seen."""
    use_fonts()
    assert note_missing(["Кошка قطة λ", "a\U000e0100\n"]) == ()
    assert boxed("a\U000e0100\nc") == "a\nc"


def test_runs(use_fonts):
    """Pillow draws with one font at a time, so texts are cut by font, and none is lost."""
    use_fonts(STIX)
    assert font_runs(f"ab{RARE}{RARE}c") == [
        (fonts.FONT, "ab"),
        (STIX, RARE * 2),
        (fonts.FONT, "c"),
    ]
    assert families("abc") == [FAMILY]


@pytest.mark.parametrize("letter", ["猫", RARE])
def test_film(use_fonts, letter):
    """Animations of texts draw any letter, too, or say what is lacking."""
    import xarray as xr

    use_fonts(STIX)
    sure = xr.DataArray(
        np.array([[0.5, np.nan]]),
        {"step": [0], "token": ("position", np.array(["a", letter], object))},
        ("step", "position"),
    )
    frames, _ = animation.animate(sure, "who")
    *_, last = frames
    plain = xr.DataArray(sure.values, {"step": [0], "token": ("position", ["a", "b"])}, sure.dims)
    *_, other = animation.animate(plain, "who")[0]
    is_noted = np.asarray(last)[58:85, 300:] != np.asarray(other)[58:85, 300:]
    assert is_noted.any() == (letter == "猫")
