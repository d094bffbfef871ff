"""What libraries raise for damaged files and shared models, as one expected error."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attn.errors import AttnError, ModelError
from attn.wording import cut

WIDEST = 200
"""Characters of what a library said."""
PLAIN = (OSError, ValueError, RuntimeError, TypeError, ImportError, AttributeError)
"""Errors whose messages are sentences."""


@contextmanager
def explained(
    failure: str,
    hint: str = "",
    error: type[AttnError] = ModelError,
    unless: Callable[[Exception], bool] = lambda raised: False,
) -> Iterator[None]:
    """Turn whatever a library raises into an expected error; but for lack of memory.

    Args:
        failure: what could not be done, and with which file.
        hint: what to look at or to do, the end of the message.
        error: what to raise.
        unless: what is left as it is, beside lack of memory.

    Raises:
        AttnError: of the kind `error`, with the first line of what the library said.
    """
    try:
        yield
    except (AttnError, MemoryError):
        raise
    except Exception as exc:
        if type(exc).__name__ == "OutOfMemoryError" or unless(exc):  # torch's, of an accelerator
            raise
        raise error(f"{failure}: {first_line(exc)}{hint}") from exc


def is_ours(raised: Exception) -> bool:
    """Whether it was raised in code of this package, and so is a bug that keeps its traceback."""
    traceback = raised.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback else ""
    return str(module).startswith("attn.")


def first_line(error: BaseException) -> str:
    """Return the message of an error in one line; a heading with the line below it."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if not isinstance(error, PLAIN) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return cut(text, WIDEST)


def suspects(cls: type[Any], settings: Mapping[str, Any]) -> str:
    """List the settings that a class does not expect, for the end of a message.

    Libraries annotate too narrowly here and there: this explains a failure, and is no ground for
    one.

    Args:
        cls: whose constructor takes the settings.
        settings: from its configuration file.
    """
    try:
        hints = typing.get_type_hints(cls.__init__)
    except (NameError, TypeError):
        return ""
    defaults = inspect.signature(cls.__init__).parameters
    odd = [
        f"{name} is {_shown(value)}"
        for name, value in settings.items()
        if name in hints and (not _fits(value, hints[name]) or _vanishes(value, defaults[name]))
    ]
    return f"; look at {', '.join(odd[:3])}" if odd else ""


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    kinds: dict[Any, Any] = {int: int, float: (int, float), str: str, bool: bool}
    if hint in kinds:
        return isinstance(value, kinds[hint]) and (hint is bool or not isinstance(value, bool))
    if hint is type(None):
        return value is None
    if origin in (list, tuple) or hint in (list, tuple):
        return isinstance(value, list)
    return True


def _vanishes(value: Any, parameter: inspect.Parameter) -> bool:
    """Whether a number is zero or less where it is one or more by default."""
    is_count = isinstance(parameter.default, int) and parameter.default >= 1
    return is_count and type(value) in (int, float) and value <= 0


def _shown(value: Any) -> str:
    return cut(json.dumps(value), WIDEST // 4)
