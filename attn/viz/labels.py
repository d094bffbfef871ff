"""Words as they are printed in pictures and as they are spelled in file names."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from unicodedata import east_asian_width

from attn.viz.fonts import BOX, boxed

TOKEN_LENGTH = 20
"""Letters of a token at the edge of a picture: the longest task tokens of LLaDA fit."""

SEPARATOR = " · "
"""Between the parts of a heading."""

STEM_LENGTH = 40  # characters: at most 160 bytes, below every file system's limit of 255


def printable(text: str) -> str:
    """Return the text on one line, in NFC, with a box for each letter that no font has."""
    return boxed(" ".join(unicodedata.normalize("NFC", text).split()))


def letter_count(text: str) -> int:
    """Return how many letters of usual width are as wide as a text: East Asian ones count twice."""
    return sum(2 if letter == BOX or east_asian_width(letter) in "WF" else 1 for letter in text)


def room(text: str, letters: int) -> int:
    """Return how many characters of a text are as wide as so many letters of usual width."""
    return max(1, letters * len(text) // max(1, letter_count(text)))


def wrap(text: str, letters: float, most: int) -> list[str]:
    """Return a text in lines of so many letters, at most so many lines.

    Lines end between the parts of a heading where they can. A text without letters stays a line.
    """
    line = printable(text)
    width = room(line, int(letters))
    lines = [""]
    for part in line.split(SEPARATOR):
        joined = f"{lines[-1]}{SEPARATOR}{part}" if lines[-1] else part
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines += textwrap.wrap(part, width)
    filled = [entry for entry in lines if entry] or [""]
    if len(filled) > most:
        filled[most - 1] = f"{filled[most - 1][: width - 2].rstrip(SEPARATOR)} …"
    return filled[:most]


def short(text: str, letters: int) -> str:
    """Return a text that fits into so many letters, cut with an ellipsis."""
    line = printable(text)
    letters = room(line, letters)
    return line if len(line) <= letters else f"{line[: letters - 1].rstrip()}…"


def shown_token(text: str) -> str:
    """Return a token for the edge of a picture, on one line, cut where it is too long."""
    line = printable(text)
    return line if len(line) <= TOKEN_LENGTH else f"{line[: TOKEN_LENGTH - 1]}…"


def file_stem(index: int, word: str) -> str:
    """Return a file name, without its suffix, that is legal and unique on every system.

    The index of the word in the prompt leads, so neither case, reserved names nor shortening can
    make two names collide. Only letters with their marks, digits, `_` and `-` are
    kept of the word.
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
    return unicodedata.category(character)[0] in "LMN" or character in "_-"
