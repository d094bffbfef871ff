"""Words and numbers for messages: texts cut, lists told by their first items, tokens of space."""

from __future__ import annotations

from collections.abc import Iterable

SPACES = {" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""How a token is shown that is nothing but space."""
DIGITS = 3
"""Significant digits of what is read; files have all."""
MOST_DIGITS = 15
"""Digits that a number of 64 bits has."""


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


def digits(number: float, *bounds: float) -> str:
    """Return a number in `DIGITS` significant digits, without an exponent where it is of use.

    Args:
        number: to write.
        bounds: numbers that it is held against; where it differs from one, it has as many digits as
            show on which side it lies.
    """
    if not bounds:
        return _round(number, DIGITS)
    texts = (_round(number, count) for count in range(DIGITS, MOST_DIGITS + 1))
    return next((text for text in texts if _are_sides_kept(text, number, bounds)), str(number))


def percent(part: float, *bounds: float) -> str:
    """Return a part in %, in the digits of `digits`, as its bounds are parts: 0.5 is `50 %`."""
    return f"{digits(100 * float(part), *(100 * float(bound) for bound in bounds))} %"


def _round(number: float, count: int) -> str:
    text = f"{number:.{count}g}"
    return f"{number:.0f}" if "e+" in text else text


def _are_sides_kept(text: str, number: float, bounds: Iterable[float]) -> bool:
    """Whether a rounded number lies on the same side of all bounds as the number itself."""
    shown = float(text)
    return not any((shown - bound) * (number - bound) <= 0 for bound in bounds if bound != number)
