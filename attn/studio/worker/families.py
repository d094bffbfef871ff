"""What the form of a family is made of, as JSON has it: in the worker, which imports families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attn.backends import Registered, find, installed
from attn.backends.plugins.guard import guarded
from attn.backends.types import Placement
from attn.errors import AttnError
from attn.options import describe_options
from attn.schema import Request

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
        options = [option._asdict() for option in describe_options(family.Options)]
    except AttnError as error:
        return facts | {"error": str(error)}
    facts |= {"prompt": family.example_prompt, "options": options, "error": None}
    demos = [DEMO, *(f"{DEMO}:{variant}" for variant in family.variants)]
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
    session = family.open(model, family.Options(), Placement("cpu", weights=False))
    completed = session.complete(Request(family.example_prompt))
    size = f"{completed.width}x{completed.height}" if completed.width else None
    taken = {name: getattr(completed, name) for name in ("steps", "guidance", "frames", "fps")}
    return taken | {"size": size}
