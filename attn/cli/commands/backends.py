"""`attn backends`: what is installed, from where, its options, and what could not be loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli.options import Json
from attn.cli.terminal import say
from attn.cli.text import aligned

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

    plugins = installed()
    looked = None
    if model is not None:
        from attn.backends.loading.source import existing
        from attn.checkpoints.describe import describe
        from attn.cli import inventory

        entry = find(name) if name else None
        looked, facts = describe(existing(model, "model")), [_facts(entry)] if entry else []
        lines = inventory.lines(looked, entry.spec.name if entry else None)
    elif name is None:
        facts = [_facts(entry) for entry in plugins.specs]
        lines = _list(plugins)
    else:
        entry = find(name)
        options = _options(entry)
        facts = [_facts(entry) | {"options": [option._asdict() for option in options]}]
        lines = _details(entry, options)
    say(_json(facts, plugins, looked) if as_json else "\n".join(lines))


def _options(entry: Registered) -> list[Option]:
    from attn.backends.plugins.registry import load
    from attn.options import describe_options

    say(f"importing {entry.spec.name} ...", err=True)  # torch and friends take seconds
    return describe_options(load(entry).Options)


def _facts(entry: Registered) -> dict[str, Any]:
    return {
        "name": entry.spec.name,
        "aliases": entry.spec.aliases,
        "summary": entry.spec.summary,
        "distribution": entry.distribution,
        "version": entry.version,
    }


def _json(facts: list[dict[str, Any]], plugins: Installed, looked: dict[str, Any] | None) -> str:
    answer = {
        "command": "backends",
        "status": "done",
        "path": looked["path"] if looked else None,
        "warnings": [*map(str, plugins.failures), *_slow(plugins), *plugins.remarks],
        "backends": facts,
        "failures": [asdict(failure) for failure in plugins.failures],
    }
    if looked:
        answer["model"] = looked
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _list(plugins: Installed) -> list[str]:
    rows = [
        (entry.spec.name, ", ".join(entry.spec.aliases), entry.spec.summary, _source(entry))
        for entry in plugins.specs
    ]
    lines = aligned([("BACKEND", "ALIASES", "SUMMARY", "FROM"), *rows])
    if plugins.failures:
        lines += ["", "not usable:", *(f"  {failure}" for failure in plugins.failures)]
    if slow := _slow(plugins):
        lines += ["", "slow to load:", *(f"  {remark}" for remark in slow)]
    if plugins.remarks:
        lines += ["", *plugins.remarks]
    return lines


def _slow(plugins: Installed) -> list[str]:
    """Warn of plugins that slow every command down."""
    times = {_source(entry): entry.seconds for entry in plugins.specs if entry.seconds > SLOW}
    threads = dict.fromkeys(_source(entry) for entry in plugins.specs if entry.threads)
    return [
        f"{source}: {seconds:.1f} s; its author should move imports and work into BackendSpec.load"
        for source, seconds in times.items()
    ] + [
        f"{source}: leaves a thread running beside every command; its author should start it in "
        "BackendSpec.load"
        for source in threads
    ]


def _details(entry: Registered, options: Sequence[Option]) -> list[str]:
    facts = [
        ("backend", entry.spec.name),
        ("aliases", ", ".join(entry.spec.aliases) or "none"),
        ("summary", entry.spec.summary),
        ("from", _source(entry)),
    ]
    if not options:
        return aligned([*facts, ("options", "none")])
    table = aligned([("OPTION", "TYPE", "DEFAULT", "MEANING"), *options])
    return [*aligned(facts), "", *table, "", "Set one with --set OPTION=VALUE."]


def _source(entry: Registered) -> str:
    return f"{entry.distribution} {entry.version}"
