"""Options of a verb, each declared once: as a field of a frozen dataclass, in one line.

The line has the option's name, its type, what is said of it, and its default. The command line
makes its parameter of it (`attn.cli.options`), the Python function its keyword (`takes`), and both
are checked by it (`validate`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache, wraps
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from attn.choices import Pooling
from attn.verbs import checks, parsing
from attn.verbs.report import Report

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class About:
    """What is said of an option beside its name, type and default: the rest of its annotation.

    Attributes:
        help: one line for the command line, and for Python unless `python` is there.
        flags: on the command line, where it is not the name alone; a word without dashes is what
            a help calls an argument that has no flag.
        python: what a caller in Python gives, where that is another thing than text.
        read: makes of the text on the command line what a caller in Python would give.
        check: makes of (name, value) what the verb works with; without it the type decides.
        least, most: bounds of a number.
        is_typed: whether it is on the command line.
    """

    help: str
    flags: tuple[str, ...] = ()
    python: str = ""
    read: Callable[[str], Any] | Callable[[list[str]], Any] | None = None
    check: Callable[[str, Any], Any] | None = None
    least: float | None = None
    most: float | None = None
    is_typed: bool = True


Words = Annotated[
    str | Iterable[str] | None,
    About(
        "Only these words of the prompt: WORD,WORD,…",
        python="Only this word of the prompt, or these.",
        read=parsing.split,
        check=checks.texts,
    ),
]
Phrases = Annotated[
    str | Iterable[str] | None,
    About(
        "Also words in a row, taken together: 'red cat|old barn'.",
        python="Also words in a row, taken together, such as red cat.",
        read=parsing.split_phrases,
        check=checks.texts,
    ),
]
Pooled = Annotated[Pooling | None, About("How maps are made of many: mean, or daam.")]
Pictures = Annotated[
    bool, About("Draw, or write tables only.", ("--pictures/--no-pictures",), python="Also draw.")
]
Look = Annotated[bool, About("Look at it in a browser when it is done: attn view.", ("--view",))]
"""Of commands alone: a caller in Python has `attn.view`."""
Told = Annotated[
    Report | None,
    About("Told notes, warnings and progress.", check=checks.unchecked, is_typed=False),
]
"""Options that several verbs have."""
Traces = Annotated[
    str | Path, About("Folder of a trace, or of a collection.", ("TRACE",), check=checks.folder)
]
Sources = Annotated[
    str | Path,
    About("Folder of a trace, or of a collection; or its URL.", ("TRACE",), check=checks.traces),
]
Workers = Annotated[
    int | None,
    About("Processes that look at traces at once; tables are what one process makes.", least=1),
]
Engine = Annotated[
    Literal["local", "ray"], About("Where workers are: local, or ray: on a Ray cluster.")
]
ReadShard = Annotated[
    str | None,
    About(
        "Look at part I of N of the traces only: I/N, or slurm; the same command without it then "
        "puts all together.",
        check=checks.text,
    ),
]
"""Those of verbs that read many traces."""


@dataclass(frozen=True)
class Declared:
    """One option, as a command line or a form needs it.

    Attributes:
        name: of the field.
        types: the alternatives of its type, without None.
        is_optional: whether None is among them.
        default: `dataclasses.MISSING` where a value must be given.
        about: the rest.
    """

    name: str
    types: tuple[Any, ...]
    is_optional: bool
    default: Any
    about: About

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that are allowed, where not all are."""
        literals = (kind for kind in self.types if get_origin(kind) is Literal)
        return tuple(choice for kind in literals for choice in get_args(kind))

    def checked(self, value: Any) -> Any:
        """Return what the verb works with.

        Raises:
            UsageError: the value is not of the option's type, or beyond its bounds.
        """
        if value is None and self.is_optional:
            return None
        if self.about.check is not None:
            return self.about.check(self.name, value)
        made = checks.convert(self.name, value, Union[self.types])  # noqa: UP007 - of a variable
        return checks.bounded(self.name, made, self.about.least, self.about.most)


@cache
def declared(options: type[DataclassInstance]) -> tuple[Declared, ...]:
    """Return the options of a dataclass in the order of its signature.

    Raises:
        TypeError: nothing is said of a field.
    """
    hints = get_type_hints(options, include_extras=True)
    fields_by_name = {field.name: field for field in fields(options)}
    listed = []
    for name in signature(options).parameters:
        kind, *extras = get_args(hints[name])
        about = next((extra for extra in extras if isinstance(extra, About)), None)
        if about is None:
            raise TypeError(f"{options.__name__}.{name}: say what it is with About")
        members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        types = tuple(member for member in members if member is not NoneType)
        default = fields_by_name[name].default
        listed.append(Declared(name, types, len(types) < len(members), default, about))
    return tuple(listed)


def validate(options: DataclassInstance) -> None:
    """Check every option, and put what the verb works with in its place: for `__post_init__`.

    Raises:
        UsageError: names the first that is wrong.
    """
    for option in declared(type(options)):
        value = option.checked(getattr(options, option.name))
        object.__setattr__(options, option.name, value)


def takes(options: Callable[P, T]) -> Callable[[Callable[[T], R]], Callable[P, R]]:
    """Let a function of options be called with each of them by name.

    Args:
        options: their dataclass, from which the signature and the list in the docstring come.
    """

    def decorate(verb: Callable[[T], R]) -> Callable[P, R]:
        @wraps(verb)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return verb(options(*args, **kwargs))

        describe(call, options)
        return call

    return decorate


def describe(verb: Any, options: Any) -> None:
    """Give a function the signature of a dataclass of options, and its docstring their list.

    Positional arguments of any number stay. The list takes the place of the argument of which the
    docstring says to see the dataclass.
    """
    listed = "\n".join(
        f"    {option.name}: {option.about.python or option.about.help}"
        for option in declared(options)
    )
    entry = rf"^ +\w+: see `{options.__name__}`\.$"
    hints = get_type_hints(options)
    written = signature(verb)
    runs = [
        parameter
        for parameter in written.parameters.values()
        if parameter.kind is Parameter.VAR_POSITIONAL
    ]
    keywords = [
        parameter.replace(annotation=hints[name])
        for name, parameter in signature(options).parameters.items()
    ]
    verb.__signature__ = written.replace(parameters=[*runs, *keywords])
    verb.__doc__ = re.sub(entry, lambda _: listed, cleandoc(verb.__doc__ or ""), flags=re.MULTILINE)
