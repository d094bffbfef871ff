"""Fonts for the letters of any script: which of the system's are used, and which are missing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path

from matplotlib import font_manager, get_data_path
from matplotlib.ft2font import FT2Font

from attn.words import is_invisible

FAMILY = "DejaVu Sans"
FONT = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
"""The first font of all pictures: it comes with matplotlib, so they look alike on every machine."""

BOX = "□"
"""Stands for a letter that no font has."""
NOTE = f"{BOX}: no font has it; install fonts-noto-cjk, fonts-noto-core or fonts-symbola"
"""Stands at the foot of pictures with a box."""
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")
PREFERRED = ("NotoSansCJK-Regular", "NotoSans", "NotoSerif")
"""How file names of fonts begin, the best first; others follow."""
STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "lastresort")


def families(text: str) -> list[str]:
    """Return the names of the fonts that a text is drawn with, for each letter the first."""
    others = (_font_with(character) for character in text)
    return list(dict.fromkeys([FAMILY, *(_register(path) for path in others if path)]))


def font_runs(text: str) -> list[tuple[Path, str]]:
    """Cut a text in pieces of one font each."""
    runs = groupby(text, lambda character: _font_with(character) or FONT)
    return [(path, "".join(run)) for path, run in runs]


def boxed(text: str) -> str:
    """Return a text with a box for each letter that no font has; lines stay apart.

    Invisible characters without a glyph are left out.
    """
    letters = (letter if letter == "\n" or _font_with(letter) else _box(letter) for letter in text)
    return "".join(letters)


def note_missing(texts: Iterable[str]) -> tuple[str, ...]:
    """Name the Debian packages with fonts for letters that cannot be drawn, if there are any."""
    letters = {letter for text in texts for letter in text if boxed(letter) == BOX != letter}
    if not letters:
        return ()
    packages = " and ".join(sorted({_package(letter) for letter in letters}))
    return (f"pictures have {BOX} for letters that no font here has: install {packages}",)


def _box(character: str) -> str:
    return "" if is_invisible(character) else BOX


def _package(character: str) -> str:
    if unicodedata.name(character, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    is_symbol = unicodedata.category(character)[0] == "S"
    return "fonts-symbola" if is_symbol else "fonts-noto-core"


@cache
def _font_with(character: str) -> Path | None:
    """Return the first font with a letter, or None."""
    if ord(character) in _letters(FONT):
        return FONT  # without a look at the system's
    return next((path for path in _system_fonts() if ord(character) in _letters(path)), None)


@cache
def _letters(path: Path) -> frozenset[int]:
    """Return the code points that a font can draw; none if it is not readable or of pixels."""
    try:
        font = FT2Font(str(path))
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap() if font.scalable else ())


@cache
def _system_fonts() -> tuple[Path, ...]:
    """Return the fonts of the system with upright letters of usual weight, the best first."""
    paths = (Path(name) for name in font_manager.findSystemFonts())
    plain = [path for path in paths if not any(style in path.name.lower() for style in STYLES)]
    return tuple(sorted(plain, key=lambda path: (_rank(path), path.name)))


def _rank(path: Path) -> int:
    begins = [index for index, name in enumerate(PREFERRED) if path.name.startswith(name)]
    return begins[0] if begins else len(PREFERRED)


@cache
def _register(path: Path) -> str:
    """Make a font known to matplotlib, whose list may be older than it, and return its name."""
    if path != FONT:
        font_manager.fontManager.addfont(path)
    return FT2Font(str(path)).family_name
