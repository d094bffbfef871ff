"""`attn gallery`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from attn.cli.options import Json
from attn.cli.terminal import say


def gallery(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(help="Folder of runs; the page is written into it."),
    ] = "attn-runs",
    *,
    as_json: Json = False,
) -> None:
    """Write a page of all runs and comparisons in a folder: pictures, settings, results."""
    from attn.cli.report import ShownReport
    from attn.verbs.gallery import build, count

    report = ShownReport(context)
    try:
        done = build(folder, report=report)
    finally:
        report.close()
    if as_json:
        answer = {"command": "gallery", "status": "complete", "path": str(done.path)}
        counts = {"runs": done.runs, "comparisons": done.comparisons}
        say(json.dumps(answer | {"warnings": report.warnings, **counts}))
    else:
        say(f"{count(done)} in {done.path}")
