"""Checks of shapes at calls that cost little.

jaxtyping's own decorator binds the arguments of every call, in Python, to say more of an error than
beartype does, which takes longer than most functions. What has no shape in its annotations mypy
checks, and is left as it is.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import isfunction
from typing import Any

import jaxtyping

_axes_in = jaxtyping.jaxtyped
"""`jaxtyped("context")`: one size for each named axis, as long as the block runs."""


def lighten() -> None:
    """Let jaxtyping's import hook decorate by `checked`."""
    jaxtyping.jaxtyped = checked


def checked(thing: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Decorate a function or a dataclass, if its annotations have shapes."""
    if thing is None:
        return partial(checked, typechecker=typechecker)
    if isfunction(thing):
        return _typed(thing, typechecker)
    if is_dataclass(thing) and isfunction(thing.__init__):
        thing.__init__ = _typed(thing.__init__, typechecker)
    return thing


def hints_of(function: Any) -> dict[str, Any]:
    """Return the annotations of a function; what is there for type checkers only may be anything.

    One inside of another function, which would be decorated at every call of that one, has none.
    """
    hints = {}
    for name, hint in function.__annotations__.items():
        try:
            hints[name] = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except (NameError, TypeError, AttributeError):
            hints[name] = Any
    return {} if "<locals>" in function.__qualname__ else hints


def _typed(function: Any, typechecker: Callable[..., Any]) -> Any:
    hints = hints_of(function)
    if "jaxtyping" not in repr(hints):
        return function
    written, function.__annotations__ = function.__annotations__, hints
    typed = typechecker(function)
    function.__annotations__ = written

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **keywords)
        with _axes_in("context"):
            return typed(*arguments, **keywords)

    return call
