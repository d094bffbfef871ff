"""Words as they are printed in pictures and as they are spelled in file names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path

from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font

FONT = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
"""The one font of all pictures: it comes with matplotlib, so they look alike on every machine."""

TOKEN_LENGTH = 20
"""Letters of a token at the edge of a picture: the longest task tokens of LLaDA fit."""

STEM_LENGTH = 40  # characters: at most 160 bytes, below every file system's limit of 255


def printable(text: str) -> str:
    """Return the text on one line with characters that the font lacks spelled as code points.

    `猫` becomes `U+732B`: longer, but neither an empty box nor a wrong letter. Combining characters
    are joined with their letter where Unicode has one for both.
    """
    line = " ".join(unicodedata.normalize("NFC", text).split())
    runs = groupby(line, _has_glyph)
    spelled = [
        "".join(run) if known else " ".join(f"U+{ord(character):04X}" for character in run)
        for known, run in runs
    ]
    return "".join(spelled)


def shown_token(text: str) -> str:
    """Return a token for the edge of a picture, on one line, cut where it is too long."""
    line = printable(text)
    return line if len(line) <= TOKEN_LENGTH else f"{line[: TOKEN_LENGTH - 1]}…"


def file_stem(index: int, word: str) -> str:
    """Return a file name, without its suffix, that is legal and unique on every system.

    The index of the word in the prompt leads, so neither case, reserved names nor shortening can
    make two names collide. Only letters, digits, `_` and `-` are kept of the word.
    """
    text = unicodedata.normalize("NFC", word)[:STEM_LENGTH]
    safe = "".join(character if _is_plain(character) else "-" for character in text).strip("-")
    return f"{index:03d}-{safe or 'word'}"


def ranges(numbers: Iterable[int]) -> str:
    """Spell sorted numbers as `0-3,7`."""
    groups = groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _is_plain(character: str) -> bool:
    return character.isalnum() or character in "_-"


@cache
def _font() -> FT2Font:
    return FT2Font(str(FONT))


def _has_glyph(character: str) -> bool:
    return _font().get_char_index(ord(character)) != 0
