"""Parameters of commands, made of the options that verbs declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin

import typer

from attn.files.names import path_or_url
from attn.verbs.checks import folder
from attn.verbs.options import About, Declared, declared

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
JsonProgress = Annotated[
    bool,
    typer.Option("--json-progress", help="Print how far it is on stderr: JSON, a line a second."),
]
Typed = dict[str, Any]
"""Options that were typed, by name, as a caller in Python would give them."""
Command = Callable[..., None]


def with_options(
    options: type[DataclassInstance], *, optional: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Put the options of a verb in the place of a command's parameter `typed`.

    The command takes as `Typed` what was typed of them; the other values are the verb's defaults.

    Args:
        options: where they are declared.
        optional: names of those that must be given, which the command can do without.
    """
    made = [option for option in declared(options) if option.about.is_typed]
    parameters = [_parameter(option, option.name not in optional) for option in made]

    def decorate(command: Command) -> Command:
        def run(**arguments: Any) -> None:
            values = {option.name: arguments.pop(option.name) for option in made}
            command(**arguments, typed=_typed(arguments["context"], made, values))

        declarations = inspect.signature(command, eval_str=True).parameters.values()
        signature = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for declaration in declarations
            for parameter in (parameters if declaration.name == "typed" else [_own(declaration)])
        ]
        run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, {}
        vars(run)["__signature__"] = inspect.Signature(signature)
        return run

    return decorate


def _own(parameter: Parameter) -> Parameter:
    """Return a parameter of a command as Typer takes it, where it is declared as verbs do."""
    kind, *extras = get_args(parameter.annotation) or (parameter.annotation,)
    about = next((extra for extra in extras if isinstance(extra, About)), None)
    if about is None:
        return parameter
    return _parameter(Declared(parameter.name, (kind,), False, parameter.default, about), True)


def _typed(context: typer.Context, made: Sequence[Declared], values: Mapping[str, Any]) -> Typed:
    """Return the options that are on the command line."""
    typed = {}
    for option in made:
        source = context.get_parameter_source(option.name)
        if source is not None and source.name == "COMMANDLINE":
            value, read = values[option.name], option.about.read
            if option.about.check is folder:
                read = path_or_url
            typed[option.name] = value if read is None else read(value)
    return typed


def _parameter(option: Declared, required: bool) -> Parameter:
    """Return an option as Typer takes it; one whose flag is a word stands without a flag."""
    kind, default = _kind(option), option.default
    if default is MISSING and required:
        default = Parameter.empty
    elif default is None or default is MISSING:
        kind, default = kind | None, None
    elif isinstance(default, range):
        default = f"{default[0]}-{default[-1]}"
    elif kind is str:
        default = str(default)
    metavar = "<path>" if option.about.check is folder else None
    about, flags = option.about, option.about.flags or (f"--{option.name.replace('_', '-')}",)
    bound = f" [x>={about.least}]" if about.least is not None and about.most is None else ""
    if flags[0].startswith("-"):
        info = typer.Option(*flags, help=about.help + bound, metavar=metavar)
    else:
        info = typer.Argument(metavar=flags[0], help=about.help)
    annotation = cast("Any", Annotated)[kind, info]
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _kind(option: Declared) -> Any:
    """Return what Typer makes of a text: a number, a switch or a list, else the text."""
    origins = [get_origin(kind) or kind for kind in option.types]
    if Mapping in origins or (Sequence in origins and option.about.read is None):
        return list[str]
    is_plain = option.about.read is None and option.types in {(bool,), (int,), (float,)}
    return option.types[0] if is_plain else str
