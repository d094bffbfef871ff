"""`attn verify`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli.options import Json
from attn.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attn.verbs.verify import Damage, Verified

SHOWN = 20
"""So many files without a digest are named."""


def verify(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Traces, collections, results, or folders of them."),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Check every file of traces and results against its digest; exit 1 if one is damaged."""
    from attn.verbs.verify import verify as check

    done = check(*paths)
    if as_json:
        say(json.dumps(_answer(done)))
    else:
        for line in _lines(done):
            say(line)
    if done.damaged:
        raise typer.Exit(1)


def _answer(done: Verified) -> dict[str, object]:
    return {
        "command": "verify",
        "status": done.status,
        "path": str(done.paths[0]),
        "paths": [str(path) for path in done.paths],
        "traces": done.traces,
        "results": done.results,
        "files": done.files,
        "damaged": _listed(done.damaged),
        "not_numbers": _listed(done.not_numbers),
        "unsealed": [str(path) for path in done.unsealed],
        "warnings": [],
    }


def _listed(damages: list[Damage]) -> list[dict[str, str]]:
    return [{"path": str(damage.path), "reason": damage.reason} for damage in damages]


def _lines(done: Verified) -> Iterator[str]:
    """Yield what is told of single files, and the summary."""
    for damage in done.damaged:
        yield f"damaged: {damage.path}: {damage.reason}"
    for damage in done.not_numbers:
        yield f"not a number: {damage.path}: {damage.reason}"
    for path in done.unsealed[:SHOWN]:
        yield f"no digest: {path} cannot be checked"
    if len(done.unsealed) > SHOWN:
        yield f"no digest: {len(done.unsealed) - SHOWN} more files; --json lists all"
    yield _summary(done)


def _summary(done: Verified) -> str:
    from attn.wording import count_noun

    what = [count_noun(done.traces, "trace")] if done.traces else []
    what += [count_noun(done.results, "folder") + " of results"] if done.results else []
    where = " and ".join(what)
    if done.damaged:
        return f"{len(done.damaged)} of {count_noun(done.files, 'file')} damaged, in {where}"
    return f"{count_noun(done.files, 'file')} of {where} as written"
