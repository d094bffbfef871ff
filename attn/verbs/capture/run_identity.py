"""What makes two runs the same, as facts with a person's names, so that differences can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from attn.schema import ExistingPicture, Intervention, Kept, Lora, Manifest, Request, Step
from attn.trace.growing import reached
from attn.verbs.capture.collection import Run
from attn.verbs.capture.jobs import JobItem, describe_run
from attn.wording import cut, list_some

Facts = dict[str, Any]

LISTED = 3
"""So many differences are named, more are counted."""
SHOWN = 60
"""Longest piece of a value in a message."""
HASH = 12
"""Digits of a SHA-256 that stand for a file."""
IDENTITIES = ("sha256", "revision")


def run_facts(run: Run) -> Facts:
    """Return the settings that all traces of a run share, by the names of their options."""
    request, kept = dict(run.request), dict(run.kept)
    loras = lora_facts(request.pop("loras", ()))
    cuts = msgspec.convert(request.pop("interventions", ()), tuple[Intervention, ...])
    picture = msgspec.convert(request.pop("picture", None), ExistingPicture | None)
    size = [request.pop("width", None), request.pop("height", None)]
    options = {f"--set {name}": value for name, value in request.pop("options", {}).items()}
    facts = {
        "backend": run.backend,
        "model": run.model.get("source"),
        "dtype": run.model.get("dtype"),
        "parameters": run.model.get("parameters"),
        **request,
        "size": size,
        "lora": loras,
        "cut": [cut.text for cut in cuts],
        "picture": picture and picture.text,
        **options,
        "keep": kept.pop("level", None),
        **kept,
    }
    return facts if run.batch is None else facts | {"batch": run.batch}


def manifest_run(manifest: Manifest) -> Run:
    """Return the run that a trace says it belongs to; it does not know the batch."""
    model = {name: value for name, value in manifest.model.items() if name not in IDENTITIES}
    kept = manifest.kept, manifest.branches
    return describe_run(manifest.backend, model, manifest.request, kept, None)


def manifest_facts(manifest: Manifest) -> Facts:
    """Return all facts of a trace that was found."""
    identity = {f"model {name}": manifest.model[name] for name in _identity_names(manifest.model)}
    request = manifest.request
    details = _trace_facts(request, manifest.kept)
    return run_facts(manifest_run(manifest)) | details | identity


def item_facts(
    shared: Facts, item: JobItem, identity: Mapping[str, str], steps: Sequence[Step] = ()
) -> Facts:
    """Return all facts of a trace that is asked for, of those that its run shares and its own.

    Args:
        shared: of the run.
        item: the trace.
        identity: of the model.
        steps: that ran, of a text that may have ended early.
    """
    details = _trace_facts(item.request, reached(item.plan.kept, steps))
    identities = {f"model {name}": identity[name] for name in _identity_names(identity)}
    return shared | details | identities


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words where two sets of facts differ; what only one of them knows is no matter.

    A model whose bytes are known on both sides may have another name.
    """
    common = [name for name in was if name in now]
    if any(f"model {name}" in common for name in IDENTITIES):
        common = [name for name in common if name != "model"]
    return [
        f"{name}: {_shown(was[name])} → {_shown(now[name])}"
        for name in common
        if was[name] != now[name]
    ]


def summary(changes: Sequence[str]) -> str:
    """Return the first differences, and how many there are beyond."""
    return list_some(changes, LISTED, "; ")


def _identity_names(identity: Iterable[str]) -> list[str]:
    return [name for name in IDENTITIES if name in identity]


def lora_facts(loras: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return LoRAs, by the fields of `schema.Lora`, as what they are, wherever they lie."""
    return [_lora_fact(msgspec.convert(dict(lora), Lora)) for lora in loras]


def _lora_fact(lora: Lora) -> str:
    config = f" configured by {lora.config_sha256[:HASH]}" if lora.config_sha256 else ""
    return f"{(lora.sha256 or lora.path)[:HASH]}{config}{lora.selection} at {lora.strength}"


def _trace_facts(request: Request, kept: Kept) -> Facts:
    columns = [f"{column.segment} {column.position}" for column in kept.columns]
    weights = [f"{request.prompt[start:stop]!r}: {w:g}" for start, stop, w in request.emphasis]
    return {
        "prompt": request.prompt,
        "seed": request.seed,
        "weights of words": weights,
        "columns of its maps": columns,
    }


def _shown(value: Any) -> str:
    match value:
        case None:
            text = "none"
        case bool():
            text = "yes" if value else "no"
        case list():
            text = ",".join(map(_shown, value)) or "none"
        case str():
            text = value or "''"
        case _:
            text = str(value)
    return cut(text, SHOWN)
