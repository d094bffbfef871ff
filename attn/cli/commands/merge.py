"""`attn merge`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli.options import Json
from attn.cli.terminal import say

if TYPE_CHECKING:
    from attn.verbs.shards.merge import Merged

TOLD = {"complete": "complete", "failed": "failed", "pending": "missing"}


def merge(
    context: typer.Context,
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR…", help="Folders of shards of one run."),
    ],
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="<path>",
            help="New folder, or one of these.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Put the shards of one run together, each trace checked."""
    from attn.cli.report import ShownReport
    from attn.verbs.shards.merge import merge as run

    report = ShownReport(context)
    try:
        done = run(*folders, out=out, report=report)
    finally:
        report.close()
    say(_answer(done, report.warnings) if as_json else _line(done))


def _line(done: Merged) -> str:
    counts = [f"{number} {TOLD[status]}" for status, number in sorted(done.counts.items())]
    return f"traces in {done.path}: {', '.join(counts)}; {done.copied} copied"


def _answer(done: Merged, warnings: list[str]) -> str:
    return json.dumps(
        {
            "command": "merge",
            "status": "complete",
            "path": str(done.path),
            "warnings": warnings,
            "copied": done.copied,
            "traces": done.counts,
        }
    )
