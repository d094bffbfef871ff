"""Words for messages: long texts cut, long lists told by their first items, tokens of space."""

from __future__ import annotations

from collections.abc import Iterable

SPACES = {" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""How a token is shown that is nothing but space."""


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
