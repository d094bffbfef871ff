"""Read what people type: seeds, sizes, bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

from attn.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


WHOLE = r"\d{1,18}"
"""A whole number: Python makes none of 4,301 digits, and none of infinity."""
MOST_SEEDS = 100_000


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `0`, `0-7` or `1,5,9`.

    Raises:
        UsageError: anything else.
    """
    seeds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(rf"\s*({WHOLE})(?:-({WHOLE}))?\s*", piece)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(f"seeds: expected 0, 0-7 or 1,5,9; got '{text}'")
        if last >= 2**32:
            raise UsageError(f"seeds must be below 2^32; got {last}")
        if last - first >= MOST_SEEDS - len(seeds):
            raise UsageError(f"seeds: at most {MOST_SEEDS} of them; got '{text}'")
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))


def parse_size(text: str) -> tuple[int, int]:
    """Read `WIDTHxHEIGHT` in pixels.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(rf"\s*({WHOLE})\s*[x×]\s*({WHOLE})\s*", text.lower())
    if match is None:
        raise UsageError(f"size: expected WIDTHxHEIGHT such as 1344x768; got '{text}'")
    return int(match[1]), int(match[2])


def split(text: str, separator: str = ",") -> tuple[str, ...]:
    """Return the pieces of a text with separators between them."""
    return tuple(item.strip() for item in text.split(separator) if item.strip())


def split_phrases(text: str) -> tuple[str, ...]:
    """Read `red cat|old barn`."""
    return split(text, "|")


def split_settings(items: list[str]) -> dict[str, str]:
    """Read `KEY=VALUE` items.

    Raises:
        UsageError: an item has no `=`, or a key is there twice.
    """
    from attn.options import split_pairs

    return split_pairs(items)


def parse_inches(text: str) -> tuple[float, float]:
    """Read `WIDTHxHEIGHT` in inches.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*[x×]\s*(\d+\.?\d*)\s*", text.lower())
    if match is None:
        raise UsageError(f"figsize: expected WIDTHxHEIGHT in inches such as 7x4.5; got '{text}'")
    return float(match[1]), float(match[2])


def finite_number(text: str) -> float | None:
    """Read a number; None for anything else, also for infinity."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def parse_bytes(text: str, name: str = "budget") -> int:
    """Read `8GB`, `500 MB` or a number of bytes; units are powers of 1000.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(rf"\s*({WHOLE}(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    unit = match[2] if match else None
    if match is None or unit is None:
        raise UsageError(f"{name}: expected a size such as 8GB or 500MB; got '{text}'")
    return int(float(match[1]) * _UNITS[unit if unit in _UNITS else unit + "B"])


def require_characters(where: str, text: str) -> str:
    """Return a text that a file and a tokenizer can take.

    Raises:
        UsageError: it is longer than any trace's, or a surrogate stands alone in it: JSON can name
            one, and a byte on the command line that is not UTF-8 becomes one.
    """
    from attn.trace.manifests import MOST_CHARACTERS

    if len(text) > MOST_CHARACTERS:
        raise UsageError(
            f"{where}: a prompt of {len(text)} characters, expected at most {MOST_CHARACTERS}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(
            f"{where}: character {exc.start} (\\u{ord(text[exc.start]):04x}) is no whole character "
            "but half of a pair, or a byte that is not UTF-8; leave it out, or write it in full"
        ) from exc
    return text


def as_tuple(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return one string as a tuple of one, None as none."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)
