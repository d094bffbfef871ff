"""Checks of types at calls that cost little where no shape is checked.

jaxtyping binds the arguments of every call to compare the sizes of axes, in Python, which takes
longer than most functions. Where no annotation names an array there are no axes: beartype alone
checks the same. A function inside of another would be decorated anew at every call of that one,
which takes a thousand times longer than a call of it: such are left to mypy.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import isfunction
from typing import Any, get_type_hints

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def lighten() -> None:
    """Let jaxtyping's import hook decorate by `checked`."""
    jaxtyping.jaxtyped = checked


def checked(thing: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Decorate a function, or a class, as `jaxtyping.jaxtyped` does."""
    if thing is None:
        return partial(checked, typechecker=typechecker)
    if "<locals>" in thing.__qualname__:
        return thing
    if isfunction(thing) and is_plain(thing):
        return _typed(thing, typechecker)
    if is_dataclass(thing) and isfunction(thing.__init__) and is_plain(thing.__init__):
        thing.__init__ = _typed(thing.__init__, typechecker)
        return thing
    return _jaxtyped(thing, typechecker=typechecker)


def is_plain(function: Any) -> bool:
    """Whether a function's annotations can be read, and none of them has a shape."""
    try:
        return "jaxtyping" not in repr(get_type_hints(function))
    except (NameError, TypeError, AttributeError):  # names for type checkers only
        return False


def _typed(function: Any, typechecker: Callable[..., Any]) -> Any:
    typed = typechecker(function)

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        is_off = jaxtyping.config.jaxtyping_disable
        return (function if is_off else typed)(*arguments, **keywords)

    return call
