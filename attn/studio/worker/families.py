"""What the form of a family is made of, as JSON has it: in the worker, which imports families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attn.backends import Registered, find, installed
from attn.backends.plugins.guard import guarded
from attn.backends.types import Placement
from attn.demo.shipped import LORA_FAMILIES
from attn.errors import AttnError
from attn.options import describe_options
from attn.schema import Request
from attn.verbs.parsing import parse_size

if TYPE_CHECKING:
    from attn.backends.types import Backend, Session

DEMO = "demo"
Facts = dict[str, Any]


def describe_families(models: Mapping[str, str]) -> list[Facts]:
    """Return facts of all families; of one that cannot be loaded, why.

    Args:
        models: the model that stands first, by the name of the family; else it is the demo.
    """
    families = [
        describe_family(entry, models.get(entry.spec.name, DEMO)) for entry in installed().specs
    ]
    broken = [{"name": failure.plugin, "error": str(failure)} for failure in installed().failures]
    return [*families, *broken]


def describe_family(registered: Registered, model: str) -> Facts:
    """Return the facts of one; see `describe_families`."""
    spec = registered.spec
    facts: Facts = {
        "name": spec.name,
        "summary": spec.summary,
        "takes": list(spec.takes),
    }
    try:
        family = guarded(registered)
        options = _describe_options(family)
    except AttnError as error:
        return facts | {"error": str(error)}
    facts |= {"prompt": family.example_prompt, "options": options, "error": None}
    demos = [DEMO, *(f"{DEMO}:{variant}" for variant in family.variants)]
    facts |= {"loras": _demo_loras(family)}
    facts |= {"demos": demos, "note": f"{DEMO}: {family.note_on_demo(DEMO)}"}
    try:
        return facts | {"defaults": defaults(spec.name, model)}
    except AttnError as error:
        if model != DEMO:
            return facts | {"error": str(error)}
        # a family may have no demo; its page still takes other models
        return facts | {"defaults": {}, "demos": [], "note": str(error)}


def defaults(backend: str, model: str) -> Facts:
    """Return what a model takes for what a request leaves open; None is what it has not.

    Raises:
        AttnError: the model cannot be opened.
    """
    family = guarded(find(backend))
    return _defaults(_open(family, model), family.example_prompt)


def values_after(backend: str, before: str, model: str, values: Mapping[str, Any]) -> Facts:
    """Return what fields hold once another model is chosen.

    What was typed stays, if the model takes it; what was the default of the model before becomes
    the default of this one.

    Args:
        backend: name of the family.
        before: the model that was chosen.
        model: the one that is chosen now.
        values: of the fields, by name; None, which stands for a default, stays.

    Raises:
        AttnError: a model cannot be opened.
    """
    family = guarded(find(backend))
    prompt = family.example_prompt
    old, session = _defaults(_open(family, before), prompt), _open(family, model)
    new = _defaults(session, prompt)

    def stays(name: str, value: Any) -> bool:
        is_typed = value not in (None, "", old.get(name))
        return is_typed and _allows(session, Request(prompt, **_named(name, value)))

    changed = {
        name: new[name]
        for name, value in values.items()
        if value not in (None, "") and new.get(name) is not None and not stays(name, value)
    }
    return {**values, **changed}


def _open(family: Backend, model: str) -> Session:
    return family.open(model, family.Options(), Placement("cpu", weights=False))


def _defaults(session: Session, prompt: str) -> Facts:
    completed = session.complete(Request(prompt))
    size = f"{completed.width}x{completed.height}" if completed.width else None
    taken = {name: getattr(completed, name) for name in ("steps", "guidance", "frames", "fps")}
    return taken | {"size": size}


def _named(name: str, value: Any) -> Facts:
    """Return arguments of a request for what stands in a field."""
    if name == "steps":
        return {name: int(value) if float(value).is_integer() else 0}
    if name != "size":
        return {name: value}
    try:
        return dict(zip(("width", "height"), parse_size(value), strict=True))
    except AttnError:
        return {"width": 0, "height": 0}  # which no model takes, as no steps


def _allows(session: Session, request: Request) -> bool:
    """Whether a model takes a request."""
    try:
        session.complete(request)
    except AttnError:
        return False
    return True


def _demo_loras(family: Backend) -> list[str]:
    """Return the names of the demos' LoRAs that fit the models of a family."""
    taken = getattr(family, "lora_families", ())
    return [name for name, of_family in LORA_FAMILIES.items() if of_family in taken]


def _describe_options(family: Backend) -> list[Facts]:
    """Return the options of a family, each with what of its choices `lacks` a package here."""
    needs = {
        field.name.removesuffix("_"): field.metadata.get("needs", {})
        for field in fields(family.Options)
    }
    return [
        option._asdict()
        | {
            "lacks": [
                choice
                for choice, module in needs.get(option.name, {}).items()
                if find_spec(module) is None
            ]
        }
        for option in describe_options(family.Options)
    ]
