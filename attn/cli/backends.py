"""`attn backends`: what is installed, from where, its options, and what could not be loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli._options import Json
from attn.cli._terminal import say
from attn.cli._text import aligned

if TYPE_CHECKING:
    from attn.backends.plugins.registry import Installed, Registered
    from attn.options import Option

SLOW = 0.5
"""Seconds of a plugin's import that are worth a remark."""


def backends(
    name: Annotated[str | None, typer.Argument(help="Show this one and its options.")] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="Say what this file or folder is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the installed backends, one of them with its options, or what a model's file holds."""
    from attn.backends.plugins.registry import find, installed

    found = installed()
    looked = None
    if model is not None:
        from attn.backends.loading.source import existing
        from attn.checkpoints.describe import describe
        from attn.cli import _model

        one = find(name) if name else None
        looked, facts = describe(existing(model, "model")), [_facts(one)] if one else []
        lines = _model.lines(looked, one.spec.name if one else None)
    elif name is None:
        facts = [_facts(one) for one in found.specs]
        lines = _list(found)
    else:
        one = find(name)
        options = _options(one)
        facts = [_facts(one) | {"options": [option._asdict() for option in options]}]
        lines = _details(one, options)
    say(_json(facts, found, looked) if as_json else "\n".join(lines))


def _options(one: Registered) -> list[Option]:
    from attn.backends.plugins.registry import load
    from attn.options import describe_options

    say(f"importing {one.spec.name} ...", err=True)  # torch and friends take seconds
    return describe_options(load(one).Options)


def _facts(one: Registered) -> dict[str, Any]:
    return {
        "name": one.spec.name,
        "aliases": one.spec.aliases,
        "summary": one.spec.summary,
        "distribution": one.distribution,
        "version": one.version,
    }


def _json(facts: list[dict[str, Any]], found: Installed, looked: dict[str, Any] | None) -> str:
    answer = {
        "command": "backends",
        "status": "done",
        "path": looked["path"] if looked else None,
        "warnings": [*map(str, found.failures), *_slow(found), *found.remarks],
        "backends": facts,
        "failures": [asdict(failure) for failure in found.failures],
    }
    if looked:
        answer["model"] = looked
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _list(found: Installed) -> list[str]:
    rows = [
        (one.spec.name, ", ".join(one.spec.aliases), one.spec.summary, _source(one))
        for one in found.specs
    ]
    lines = aligned([("BACKEND", "ALIASES", "SUMMARY", "FROM"), *rows])
    if found.failures:
        lines += ["", "not usable:", *(f"  {failure}" for failure in found.failures)]
    if slow := _slow(found):
        lines += ["", "slow to load:", *(f"  {remark}" for remark in slow)]
    if found.remarks:
        lines += ["", *found.remarks]
    return lines


def _slow(found: Installed) -> list[str]:
    """Say which plugins slow every command down."""
    times = {_source(one): one.seconds for one in found.specs if one.seconds > SLOW}
    threads = dict.fromkeys(_source(one) for one in found.specs if one.threads)
    return [
        f"{source}: {seconds:.1f} s; its author should move imports and work into BackendSpec.load"
        for source, seconds in times.items()
    ] + [
        f"{source}: leaves a thread running, which every command waits for at its end; its author "
        "should start it in BackendSpec.load, as a daemon"
        for source in threads
    ]


def _details(one: Registered, options: Sequence[Option]) -> list[str]:
    facts = [
        ("backend", one.spec.name),
        ("aliases", ", ".join(one.spec.aliases) or "none"),
        ("summary", one.spec.summary),
        ("from", _source(one)),
    ]
    if not options:
        return aligned([*facts, ("options", "none")])
    table = aligned([("OPTION", "TYPE", "DEFAULT", "MEANING"), *options])
    return [*aligned(facts), "", *table, "", "Set one with --set OPTION=VALUE."]


def _source(one: Registered) -> str:
    return f"{one.distribution} {one.version}"
