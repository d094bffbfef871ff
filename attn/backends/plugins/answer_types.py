"""Whether an answer of a backend is of the type that it declares, with what it is instead."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from itertools import repeat
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from attn.errors import PluginError
from attn.wording import cut

SHOWN = 60
"""Longest piece of a value in a message."""


class AnswerError(PluginError):
    """An answer is not what it must be.

    Attributes:
        problem: what was got, and what was expected.
        fix: what the author of the backend can do.
        location: where in the answer, such as `[2].queries[0].stop`.
    """

    def __init__(self, problem: str, fix: str, location: str = "") -> None:
        super().__init__(f"{location}: {problem}" if location else problem)
        self.problem, self.fix, self.location = problem, fix, location


def got(value: object) -> str:
    """Return a value in a few words."""
    if inspect.iscoroutine(value):
        value.close()  # or Python remarks that nobody awaited it
        return "a coroutine (write def, not async def)"
    if inspect.isasyncgen(value):
        return "an asynchronous generator (write def, not async def)"
    if value is None or isinstance(value, str | int | float | tuple | list | dict):
        return cut(" ".join(repr(value).split()), SHOWN)
    if isinstance(value, type):
        return f"the class {_words(value)}"
    return f"type {_words(type(value))}"


def as_declared(value: Any, kind: Any) -> Any:
    """Return a list where a tuple is declared as one, and the other way round."""
    origin = get_origin(kind)
    is_listed = origin in (tuple, list) and isinstance(value, tuple | list)
    return origin(value) if is_listed and origin is not None else value


def require_type(value: Any, kind: Any, fix: str) -> None:
    """Raise an `AnswerError` unless a value, and all that is in it, is of a type."""
    for location, actual, expected in _misfits(value, kind, ""):
        raise AnswerError(f"got {got(actual)}, expected {_words(expected)}", fix, location)


def returned(function: Callable[..., Any]) -> Any:
    """Return the type that a function of the plugin interface is declared to return."""
    return _hints(function)["return"]


def _misfits(value: Any, kind: Any, location: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, part, expected type) of what is of another type."""
    if type(value) is kind and not is_dataclass(kind):
        return  # what is most frequent, sooner
    origin: Any = get_origin(kind) or kind
    inner = get_args(kind)
    if not _is_a(value, origin, inner):
        yield location, value, kind
    elif is_dataclass(type(value)) and isinstance(origin, type):
        for name, expected in _hints(origin).items():
            yield from _misfits(getattr(value, name), expected, f"{location}.{name}")
    elif origin in (tuple, list) and inner:
        kinds = inner if origin is tuple and ... not in inner else repeat(inner[0])
        for index, (item, expected) in enumerate(zip(value, kinds, strict=False)):
            yield from _misfits(item, expected, f"{location}[{index}]")
    elif origin in (dict, Mapping):
        for key, item in value.items():
            yield from _misfits(key, inner[0], f"{location}, key {key!r}")
            yield from _misfits(item, inner[1], f"{location}[{key!r}]")


def _is_a(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    if origin is Any:
        return True
    if origin in (Union, UnionType):
        return any(not list(_misfits(value, alternative, "")) for alternative in inner)
    if origin is Literal:
        return value in inner
    if origin is float:
        return isinstance(value, int | float)
    is_pair = origin is tuple and inner and ... not in inner
    return isinstance(value, origin) and not (is_pair and len(value) != len(inner))


@cache
def _hints(of: Any) -> dict[str, Any]:
    """Return annotations; a session that is open has imported what they name."""
    import numpy as np
    from PIL.Image import Image
    from torch import nn

    return get_type_hints(of, localns={"np": np, "nn": nn, "Image": Image})


def _words(kind: Any) -> str:
    if kind is NoneType:
        return "None"
    is_plain = isinstance(kind, type) and get_origin(kind) is None
    name = f"{kind.__module__}.{kind.__qualname__}" if is_plain else str(kind)
    return re.sub(r"\b(builtins|attn|collections|torch|typing)\.(?:[a-z]+\.)*", "", name)
