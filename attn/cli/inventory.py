"""Show what a model's file or folder holds, for `attn backends --model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attn.checkpoints.describe import Facts
from attn.checkpoints.families import families
from attn.cli.text import aligned


def lines(facts: Facts, backend: str | None) -> list[str]:
    """Return what a model is, for people.

    Args:
        facts: from `describe`.
        backend: that the user named; None without one.
    """
    rows = [
        ("model", facts["path"]),
        ("this is", facts["title"]),
        ("backend", _backend(facts["family"], backend)),
        *((name, str(facts[name])) for name in ("layout", "config") if facts.get(name)),
        *_prediction(facts),
    ]
    where = "CLASS" if facts["kind"] == "folder" else "PREFIX"
    if any("file" in part for part in facts["parts"]):
        where = "FILE OR CLASS"
    table = [("PART", where, "TENSORS", "PARAMETERS", "DTYPE"), *map(_row, facts["parts"])]
    family = families().get(facts["family"])
    optional = family.optional if family else ()
    table += [(part, _absent(part in optional), "", "", "") for part in facts["missing"]]
    text = [*aligned(rows), "", *(aligned(table) if len(table) > 1 else ["no parts of a model"])]
    for word in ("unused", "unknown"):
        if facts[word]:
            text += ["", f"{word}: {_some(facts[word])}"]
    return text if facts["advice"] is None else [*text, "", f"Note: {facts['advice']}."]


def _row(part: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    where = next((part[key] for key in ("file", "class", "prefix") if part.get(key)), "none")
    if not part["tensors"]:
        return part["part"], where, "", "", ""
    dtypes = ", ".join(part["dtypes"])
    return part["part"], where, str(part["tensors"]), f"{part['parameters']:,}", dtypes


def _absent(is_optional: bool) -> str:
    return "not here; the model runs without" if is_optional else "not here"


def _backend(family: str | None, requested: str | None) -> str:
    if family is None:
        return "none by itself"
    if requested in (None, family):
        return family
    return f"{family}, not {requested}: use --backend {family}"


def _prediction(facts: Facts) -> list[tuple[str, str]]:
    if facts["kind"] == "folder" or not any(part["part"] == "unet" for part in facts["parts"]):
        return []
    text = facts["prediction"] or "not said; epsilon is assumed"
    return [("prediction", f"{text}, with zero terminal SNR" if facts["zero_snr"] else text)]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    first = ", ".join(ascii(name[:60])[1:-1] for name in names[:3])
    return f"{len(names)} ({first}{', …' if len(names) > 3 else ''})"  # noqa: PLR2004
