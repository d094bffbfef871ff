"""`attn verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli._options import Json
from attn.cli._terminal import say

if TYPE_CHECKING:
    from attn.verbs.verify import Verified


def verify(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="Traces, collections, results, or folders of them."),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Check every file of traces and results against its digest; exit 1 if one is damaged."""
    from attn.cli._report import ShownReport
    from attn.verbs.verify import verify as check

    report = ShownReport(context)
    try:
        done = check(*paths, report=report)
    finally:
        report.close()
    if as_json:
        say(json.dumps(_answer(done) | {"warnings": report.warnings}))
    else:
        for damage in done.damaged:
            say(f"damaged: {damage.path}: {damage.reason}")
        say(_summary(done))
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
        "damaged": [{"path": str(damage.path), "reason": damage.reason} for damage in done.damaged],
    }


def _summary(done: Verified) -> str:
    from attn.wording import count_noun

    what = [count_noun(done.traces, "trace")] if done.traces else []
    what += [count_noun(done.results, "folder") + " of results"] if done.results else []
    where = " and ".join(what)
    if done.damaged:
        return f"{len(done.damaged)} of {count_noun(done.files, 'file')} damaged, in {where}"
    return f"{count_noun(done.files, 'file')} of {where} as written"
