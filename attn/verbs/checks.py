"""Check what a verb is given, each value under its name, before time is spent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from attn.errors import UsageError
from attn.files.names import is_url, path_or_url, shown_url
from attn.verbs.parsing import as_tuple, finite_number, parse_bytes, require_characters
from attn.wording import cut

NEGATIVE = (
    "worst quality, low quality, lowers, low details, bad quality, poorly drawn, bad anatomy, "
    "multiple views, bad hands, blurry, artist sign, weibo username"
)
"""What `default` stands for as a negative prompt: that of LoRA Attention Analyzer, word by word."""
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*", re.I)
"""A name as it stands in an address; others are spelled in its letters there."""
SHOWN = 40
"""Longest piece of a value in a message."""
FEWEST_CONCEPTS, MOST_CONCEPTS, MOST_CONCEPT_WORDS = 2, 64, 8
"""Limits of concepts: their number, and the words of each."""
_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a path",
    tuple[float, float]: "two numbers",
}
"""Types in words."""


def convert(name: str, value: Any, kind: Any) -> Any:
    """Return a value of a type; numbers may be numpy's, and a whole one may stand for any.

    Raises:
        UsageError: it is of another type, or not one of the texts that are allowed.
    """
    import msgspec

    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            value = int(value) if isinstance(value, Integral) else float(value)
        elif not isinstance(value, str | bool | list | tuple | Path):
            raise msgspec.ValidationError
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        if get_origin(kind) is Literal:
            listed = ", ".join(get_args(kind))
            raise UsageError(f"{name}: expected one of {listed}; got '{value}'") from error
        raise wrong(name, _in_words(kind), value) from error


def bounded(name: str, value: Any, least: float | None, most: float | None) -> Any:
    """Return a number, or None, that is within bounds."""
    if least is not None and most is not None and not least <= value <= most:
        raise UsageError(f"{name}: expected {least} to {most}; got {value}")
    if least is not None and value < least:
        raise UsageError(f"{name} must be at least {least}; got {value}")
    return value


def text(name: str, value: Any) -> str:
    """Return a text that a file can hold."""
    return require_characters(name, convert(name, value, str))


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return one text or several."""
    if isinstance(value, str):
        return (text(name, value),)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise wrong(name, "a text or several", value)
    return tuple(text(f"{name} {index}", item) for index, item in enumerate(value))


def names(name: str, value: Any) -> tuple[str, ...]:
    """Return one name or several, of which there is one at least."""
    listed = texts(name, value)
    if not any(item.strip() for item in listed):
        raise UsageError(f"{name}: nothing is named; leave the option out for the default")
    return listed


def host_names(name: str, value: Any) -> tuple[str, ...]:
    """Return the names of one host or several, as a browser asks for them."""
    names = texts(name, value)
    for host in names:
        if not (_HOST.fullmatch(host) or _is_address(host)):
            raise UsageError(
                f"{name}: expected the name of a host without port, such as box.example; "
                f"got '{cut(host, SHOWN)}'"
            )
    return names


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def pieces(name: str, value: Any) -> tuple[str, ...] | None:
    """Return the pieces of one text or several, each with commas between them; None as it is."""
    if value is None:
        return None
    listed = as_tuple(texts(name, value))
    stripped = (piece.strip() for item in listed for piece in item.split(","))
    named = tuple(piece for piece in stripped if piece)
    if not named:
        raise UsageError(f"{name}: nothing is named; leave the option out for the default")
    return named


def concepts(name: str, value: Any) -> tuple[str, ...]:
    """Return concepts, of one text or several, each with commas between them; None is none."""
    if value is None:
        return ()
    typed = [piece for item in as_tuple(texts(name, value)) for piece in item.split(",")]
    named = tuple(" ".join(piece.split()) for piece in typed)
    long = [piece for piece in named if len(piece.split()) > MOST_CONCEPT_WORDS]
    again = [
        piece for piece in named if [of.casefold() for of in named].count(piece.casefold()) > 1
    ]
    if "" in named:
        raise UsageError(f"{name}: one is empty in '{cut(','.join(typed), SHOWN)}'; give sky,grass")
    if long:
        raise UsageError(
            f"{name}: '{cut(long[0], SHOWN)}' has {len(long[0].split())} words; give a word, or at "
            f"most {MOST_CONCEPT_WORDS} in a row, and commas between concepts"
        )
    if again:
        raise UsageError(f"{name}: '{again[0]}' is named twice; give each once")
    if not FEWEST_CONCEPTS <= len(named) <= MOST_CONCEPTS:
        raise UsageError(
            f"{name}: expected {FEWEST_CONCEPTS} to {MOST_CONCEPTS}, because they are held against "
            f"each other; got {len(named)}"
        )
    return named


def negative(name: str, value: Any) -> str:
    """Return a negative prompt, of which `default` names a common one."""
    return NEGATIVE if value == "default" else text(name, value)


def seeds(name: str, value: Any) -> tuple[int, ...]:
    """Return one seed or several."""
    if isinstance(value, str | Mapping):
        raise wrong(name, "a whole number or several", value)
    several = isinstance(value, Iterable)
    numbers = tuple(convert(name, seed, int) for seed in (value if several else (value,)))
    out_of_range = [seed for seed in numbers if not 0 <= seed < 2**32]
    if out_of_range or not numbers:
        raise UsageError(
            f"seeds: expected numbers from 0 to 2^32 - 1; got {out_of_range or 'none'}"
        )
    return numbers


def size(name: str, value: Any) -> tuple[int, int]:
    """Return (width, height)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise wrong(name, "(width, height) in pixels", value)
    return convert(name, value[0], int), convert(name, value[1], int)


def byte_limit(name: str, value: Any) -> int:
    """Return a number of bytes, of a number or of a text such as `8GB`."""
    return parse_bytes(value, name) if isinstance(value, str) else int(convert(name, value, int))


def settings(name: str, value: Any) -> Mapping[str, str]:
    """Return options as KEY: VALUE, both texts; None is none of them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong(name, "options as {KEY: VALUE}", value)
    return {text(name, key): text(f"{name}, {key}", item) for key, item in value.items()}


def folder(name: str, value: Any) -> Path:
    """Return the path of a file or folder."""
    if not isinstance(value, str | Path):
        raise wrong(name, "a path", value)
    path = path_or_url(value)
    if isinstance(path, str):
        raise UsageError(
            f"{name}: expected a path; got the URL {cut(shown_url(path), SHOWN)}, and only attn "
            "analyze, attn view and attn.open read such"
        )
    return path


def traces(name: str, value: Any) -> Path | str:
    """Return the path of traces, or their URL, which is a text."""
    return value if is_url(value) else folder(name, value)


def levels(name: str, value: Any) -> tuple[float, ...]:
    """Return parts of a whole, above 0 and up to 1, each once, the largest first.

    Args:
        name: of the option.
        value: a number, several, or a text with commas between them.
    """
    if isinstance(value, Real):
        value = [value]
    listed = value.split(",") if isinstance(value, str) else as_tuple(value)
    numbers = [finite_number(str(of)) for of in listed]
    if not numbers or any(number is None or not 0 < number <= 1 for number in numbers):
        shown = ",".join(map(str, listed))
        raise UsageError(f"{name}: expected numbers above 0, up to 1, as in 0.3,0.6; got '{shown}'")
    return tuple(sorted({number for number in numbers if number}, reverse=True))


def page(name: str, value: Any) -> Path:
    """Return the path of a page, whose name says that it is one."""
    path = folder(name, value)
    if path.suffix.lower() not in (".html", ".htm"):
        raise wrong(name, "the name of a page, such as page.html", value)
    return path


def source(name: str, value: Any) -> str:
    """Return what names a model or a drawing: a path, or a word that stands for one."""
    return str(folder(name, value)) if isinstance(value, Path) else text(name, value)


def unchecked(name: str, value: Any) -> Any:
    """Return what only the code that takes it can tell of."""
    return value


def wrong(name: str, expected: str, value: Any) -> UsageError:
    """Return the error of a value of another kind than the one expected.

    Whoever types a command types texts, whose quotes say so; of other values the type is said too.
    """
    if isinstance(value, str | Path):
        got = cut(repr(str(value)), SHOWN)
    else:
        got = f"{cut(repr(value), SHOWN)} ({type(value).__name__})"
    return UsageError(f"{name}: expected {expected}; got {got}")


def _path(kind: type, value: Any) -> Path:
    import msgspec

    if kind is not Path or not isinstance(value, str | Path):
        raise msgspec.ValidationError
    return Path(value)


def _in_words(kind: Any) -> str:
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return " or ".join(_NAMES.get(member, str(member)) for member in members)
