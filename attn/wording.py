"""Words and numbers for messages: texts cut, lists told by their first items, tokens of space."""

from __future__ import annotations

from collections.abc import Iterable

SPACES = {" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""How a token is shown that is nothing but space."""
DIGITS = 3
"""Significant digits of what is read; files have all."""


def cut(text: str, most: int) -> str:
    """Return a text, cut behind so many characters, with an ellipsis."""
    return text if len(text) <= most else f"{text[:most]}…"


def list_some(items: Iterable[object], most: int, separator: str = ", ") -> str:
    """Join the first items and say how many more there are: `a, b and 3 more`."""
    texts = [str(item) for item in items]
    joined = separator.join(texts[:most]) or "nothing"
    more = len(texts) - most
    return f"{joined}{separator.strip(', ')} and {more} more" if more > 0 else joined


def count_noun(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trace`, `2 traces`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spell_token(text: str) -> str:
    """Return a token without the space around it; a token that is nothing but space, visibly."""
    return text.strip() or "".join(SPACES.get(character, character) for character in text)


def digits(number: float) -> str:
    """Return a number in `DIGITS` significant digits, without an exponent where it is of use."""
    text = f"{number:.{DIGITS}g}"
    return f"{number:.0f}" if "e+" in text else text


def percent(part: float) -> str:
    """Return a part in %, in `DIGITS` significant digits: 0.5 is `50 %`."""
    return f"{digits(100 * float(part))} %"
