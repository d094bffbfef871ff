"""The form of a family: fields made of typed options, and a request made of what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal

from attn.errors import UsageError
from attn.verbs.capture.options import CaptureOptions
from attn.verbs.options import Declared, declared
from attn.verbs.parsing import parse_size

Kind = Literal["text", "number", "whole", "choice", "switch"]
Facts = Mapping[str, Any]

FIRST = ("negative", "steps", "guidance", "size", "keep")
"""Options of the capture that stand open, in this order; those below are folded."""
FURTHER = (
    *(
        "frames",
        "fps",
        "images",
        "scheduler",
        "keys",
        "mass",
        "blocks",
        "layers",
        "branch",
        "entropy",
        "cut",
    ),
    *("generate", "budget", "device", "dtype", "offload"),
)
FROM_MODEL = ("steps", "guidance", "size", "frames", "fps")
"""Those whose default is the model's; one without has no field."""
OF_DRAWING = ("edges", "ground", "fit")
"""Options of a family that stand beside the drawing."""
APART = ("sketch", "generate")
"""Options of a family that have a field of their own."""
LORA_ROWS = 3
NO_MODEL = "no model is chosen; those of a folder are offered with attn studio --model-dir DIR"
LABELS = {"lora": "LoRA 1", "sketch": "Drawing"}
"""Names for people, of fields that are not called like their options."""
EMPTY_LABEL = "Where nothing is drawn"
NAMED = (*FIRST, *FURTHER, "backend", "model", "prompt", "seed", "lora", "sketch")
"""All options of the capture that the page has something for."""


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        name: of the option.
        kind: what can be put in.
        default: None is an empty field.
        choices: of a `choice`.
        help: what is said of it, with its bounds.
        is_setting: whether it is an option of the family, for `--set`.
        paths: of choices that stand for a file or folder, by name.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    is_setting: bool = False
    paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name for people."""
        return label_of(self.name)


def scale_label(row: int) -> str:
    """Return how the scale of a LoRA is called."""
    return f"Scale of LoRA {row}"


def label_of(name: str) -> str:
    """Return how the field of an option is called."""
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def capture_fields(names: Sequence[str], facts: Facts) -> list[Field]:
    """Return fields for options of the capture.

    Args:
        names: of the options.
        facts: of the family; what its model has no default for has no field.
    """
    defaults = facts["defaults"]
    missing = {name for name in FROM_MODEL if defaults.get(name) is None}
    missing |= set() if "lengths" in facts["takes"] else {"generate"}
    by_name = {option.name: option for option in declared(CaptureOptions)}
    return [_of_capture(by_name[name], defaults) for name in names if name not in missing]


def setting_fields(facts: Facts, models: Mapping[str, str]) -> list[Field]:
    """Return fields for a family's own options.

    A text may name a file, so it is chosen: from its default, and from the models in the folders.

    Args:
        facts: of the family.
        models: paths by name.
    """
    listed = [option for option in facts["options"] if option["name"] not in APART]
    return [_of_family(option, models) for option in listed]


def begin_request(
    values: Mapping[str, Any], models: Mapping[str, str], loras: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of `attn.capture` that no typed option stands behind.

    Args:
        values: what the page holds: prompt, seed, names of the model and, before the scale of
            each, of LoRAs.
        models: paths by name.
        loras: the same.

    Raises:
        UsageError: no model is chosen, or the seed is no whole number.
    """
    if values["model"] not in models:
        raise UsageError(NO_MODEL)
    request = {"model": models[values["model"]], "prompt": values["prompt"] or ""}
    request |= {"seed": _whole("seed", values["seed"] or 0)}
    rows = zip(values["loras"][::2], values["loras"][1::2], strict=True)
    named = [
        (loras[name], 1.0 if scale is None else _number("scale", scale))
        for name, scale in rows
        if name in loras
    ]
    return request | ({"lora": [f"{path}:{scale:g}" for path, scale in named]} if named else {})


def empty_fields(fields: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for fields that were emptied, by their names for people.

    Args:
        fields: of the form.
        values: what the page holds; see `begin_request`.
    """
    empty: dict[str, Any] = {} if values["seed"] is not None else {"Seed": 0}
    rows = zip(values["loras"][::2], values["loras"][1::2], strict=True)
    empty |= {scale_label(row): 1 for row, (_, scale) in enumerate(rows, 1) if scale is None}
    held = values["fields"]
    return empty | {
        about.label: about.default
        for about in fields
        if held[about.name] in (None, "") and about.default not in (None, "")
    }


def make_request(fields: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `attn.capture`, without those that are left at their defaults.

    Args:
        fields: of the form.
        values: what they hold, by name.

    Raises:
        UsageError: a text cannot be read.
    """
    request: dict[str, Any] = {}
    settings: dict[str, str] = {}
    for about in fields:
        value = _plain(about, values[about.name])
        if value is None or (value == about.default and about.name not in FIRST):
            continue
        if about.is_setting:
            text = {True: "yes", False: "no"}.get(value, str(value))
            settings[about.name] = about.paths.get(text, text)
        else:
            request[about.name] = list(parse_size(value)) if about.name == "size" else value
    return request | ({"settings": settings} if settings else {})


def _plain(about: Field, value: Any) -> Any:
    """Return what a field holds; None where it is empty."""
    if about.kind in ("whole", "number") and value is not None and about.default is not None:
        return _whole(about.name, value) if about.kind == "whole" else _number(about.name, value)
    return (value.strip() or None) if isinstance(value, str) else value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name}: expected a number; got {value!r}")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, str) or not float(_number(name, value)).is_integer():
        raise UsageError(f"{name}: expected a whole number; got {value}")
    return int(value)


def _of_capture(option: Declared, defaults: Mapping[str, Any]) -> Field:
    default = defaults.get(option.name, option.default)
    default = None if default is MISSING else default
    about = option.about
    bound = f" At least {about.least:g}." if about.least is not None else ""
    if option.choices:
        return Field(option.name, "choice", default, about.help, option.choices)
    kinds: dict[tuple[Any, ...], Kind] = {(bool,): "switch", (int,): "whole", (float,): "number"}
    return Field(option.name, kinds.get(option.types, "text"), default, about.help + bound)


def _of_family(option: Mapping[str, Any], models: Mapping[str, str]) -> Field:
    name, written, default, said = (option[key] for key in ("name", "type", "default", "help"))
    kind = written.removesuffix(" or none")
    empty: Any = None if default == "none" else default
    if kind == "yes|no":
        return Field(name, "switch", default == "yes", said, is_setting=True)
    if kind in ("int", "float"):
        number = None if empty is None else float(default)
        whole = number if number is None or kind == "float" else int(number)
        return Field(name, "whole" if kind == "int" else "number", whole, said, is_setting=True)
    if "|" in kind:
        there = [choice for choice in kind.split("|") if choice not in option["lacks"]]
        return Field(name, "choice", default, said, tuple(there), is_setting=True)
    if ",…" in kind:
        return Field(name, "text", default, said, is_setting=True)
    listed = tuple(dict.fromkeys((default, *models)))
    return Field(name, "choice", default, said, listed, is_setting=True, paths=models)
