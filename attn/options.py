"""Options that backends and analyses declare as dataclasses and that `--set KEY=VALUE` fills."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from attn.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_SWITCH = {"yes": True, "on": True, "true": True, "1": True} | {
    "no": False,
    "off": False,
    "false": False,
    "0": False,
}


class Option(NamedTuple):
    """One option in words; `default` can be given back to `--set`."""

    name: str
    type: str
    default: str
    help: str


def option_names(options: type[DataclassInstance]) -> dict[str, str]:
    """Return the fields of a dataclass by the names that `--set` takes.

    A name that is a word of Python has an underscore behind it in the dataclass: `from_`.
    """
    return {field.name.removesuffix("_"): field.name for field in fields(options)}


def describe_options(options: type[DataclassInstance]) -> list[Option]:
    """Return name, type, default and help of every option of a dataclass.

    Raises:
        TypeError: it is no dataclass, or a field has no default.
    """
    types = get_type_hints(options)
    return [
        Option(
            name,
            _type_text(types[field.name]),
            _value_text(_default(field)),
            field.metadata.get("help", ""),
        )
        for name, field in zip(option_names(options), fields(options), strict=True)
    ]


def split_pairs(items: Iterable[str]) -> dict[str, str]:
    """Return the `KEY=VALUE` items of a command line as a mapping.

    Raises:
        UsageError: an item has no `=`, or a key is there twice.
    """
    pairs: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise UsageError(f"--set takes KEY=VALUE, got '{item}'.")
        if key in pairs:
            raise UsageError(
                f"option '{key}' is given twice, as '{pairs[key]}' and '{value}'; give it once."
            )
        pairs[key] = value
    return pairs


def parse_options(options: type[T], pairs: Mapping[str, str], owner: str) -> T:
    """Return an instance of a dataclass of options, filled from text.

    Args:
        options: dataclass whose fields have types that `--set` can express.
        pairs: text by option name.
        owner: the backend or analysis whose options these are, for messages.

    Raises:
        UsageError: an option is unknown, or a value is not of its type.
    """
    types = get_type_hints(options)
    names = option_names(options)
    values = {}
    for key, text in pairs.items():
        if key not in names:
            listed = f"Options: {', '.join(names)}." if names else "It has no options."
            raise UsageError(f"{owner} has no option '{key}'.{did_you_mean(key, names)} {listed}")
        try:
            values[names[key]] = _convert(text, types[names[key]])
        except msgspec.ValidationError as error:
            expected = _type_text(types[names[key]])
            message = f"option '{key}' of {owner}: got '{text}', expected {expected}."
            raise UsageError(message) from error
    try:
        return options(**values)
    except ValueError as error:  # checked by the dataclass itself
        raise UsageError(f"options of {owner}: {error}") from error


def _convert(text: str, kind: Any) -> Any:
    members = _members(kind)
    if NoneType in members and text.lower() == "none":
        return None
    if bool in members and text.lower() in _SWITCH:
        return _SWITCH[text.lower()]
    value: object = text
    if any(get_origin(member) is tuple for member in members):
        value = [item.strip() for item in text.split(",")] if text else []
    return msgspec.convert(value, kind, strict=False, dec_hook=_path)


def _path(kind: type, text: str) -> Path:
    if kind is not Path:
        raise NotImplementedError(f"--set cannot express an option of type {kind}")
    return Path(text).expanduser()


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _type_text(kind: Any) -> str:
    members = _members(kind)
    if len(members) > 1:
        return " or ".join(_type_text(member) for member in members)
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return ",".join("…" if item is ... else _type_text(item) for item in get_args(kind))
    return {bool: "yes|no", NoneType: "none", Path: "path"}.get(kind) or str(kind.__name__)


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    if field.default is MISSING:
        raise TypeError(f"option '{field.name}' has no default")
    return field.default


def _value_text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(_value_text, value))
    return str(value)
