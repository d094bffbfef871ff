"""`attn capture`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli.commands.view import look
from attn.cli.errors import ANSWERED
from attn.cli.options import Json, JsonProgress, Typed, with_options
from attn.cli.plan import describe
from attn.cli.terminal import say
from attn.verbs.capture.options import CaptureOptions
from attn.verbs.options import Look
from attn.wording import count_noun, cut

if TYPE_CHECKING:
    from attn.errors import AttnError
    from attn.verbs.analyze.results import Analyzed
    from attn.verbs.capture.capture import Captured
    from attn.verbs.report import Report

LISTED = 10
"""So many traces that failed are named; the index has them all."""
SHOWN = 80
"""Longest piece of a prompt in a message."""


@with_options(CaptureOptions)
def capture(
    context: typer.Context,
    *,
    typed: Typed,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run `attn analyze` on the result.")
    ] = False,
    view: Look = False,
    as_json: Json = False,
    json_progress: JsonProgress = False,
) -> None:
    """Generate, and record what the model attends to."""
    from attn.cli.report import ShownReport
    from attn.verbs.capture.capture import capture_with

    report = ShownReport(context, json_progress)
    try:
        options = CaptureOptions(**typed, report=report)
        captured = capture_with(options)
    finally:
        report.close()
    dry_run = options.dry_run
    done, failure = _analyze(captured, report) if analyze and not dry_run else (None, None)
    if as_json:
        failed = failure is not None or bool(captured.failures)
        status = "planned" if dry_run else "failed" if failed else "complete"
        answer = _summary(captured, status, report.warnings, done)
        say(json.dumps(answer | ({"error": str(failure)} if failure else {})))
        context.meta[ANSWERED] = True
    else:
        _tell(captured, dry_run, done)
    _tell_failures(captured, dry_run)
    if failure is not None:
        raise failure
    if captured.failures:
        raise typer.Exit(1)
    if view and not dry_run:
        look([captured.path])


def _analyze(captured: Captured, report: Report) -> tuple[Analyzed | None, AttnError | None]:
    """Analyse what was captured; a failure must not hide that the capture is there."""
    from attn.cli.commands.analyze import explain
    from attn.errors import AnalysisError, AttnError
    from attn.verbs.analyze.analyze import analyze

    try:
        done = analyze(captured.path, report=report)
    except AttnError as error:
        return None, error
    is_told = len(done.failures) == len(captured.failures)  # these were not captured
    failure = None if is_told else AnalysisError(explain(done))
    return done, failure


def _summary(
    captured: Captured, status: str, warnings: list[str], done: Analyzed | None
) -> dict[str, Any]:
    return {
        "command": "capture",
        "status": status,
        "path": str(captured.path),
        "warnings": warnings,
        "predicted_bytes": captured.predicted_bytes,
        "traces": [
            {
                "folder": entry.folder,
                "status": entry.status,
                "seed": entry.seed,
                "error": entry.error,
            }
            for entry in captured.entries
        ],
        "answers": {} if done is None else {str(of.trace): of.answer for of in done.traces},
        "pictures": [] if done is None else [str(file) for file in done.pictures],
    }


def _tell(captured: Captured, dry_run: bool, done: Analyzed | None) -> None:
    from attn.cli.commands.analyze import tell_answer

    if dry_run:
        say(describe(captured))
        return
    say(f"{count_noun(len(captured.entries), 'trace')} in {captured.path}")
    if done is None:
        return
    for line in tell_answer(done):
        say(line)
    is_single = len(captured.entries) == 1
    figures = done.pictures
    shown = [path for path in figures if is_single or path.parents[1] == captured.path]
    for figure in shown:
        say(f"picture {figure}")
    if len(shown) < len(figures):
        say(f"and {len(figures) - len(shown)} pictures in the folders of the traces")


def _tell_failures(captured: Captured, dry_run: bool) -> None:
    """Name the first traces that failed, and say what became of the others."""
    failures, total = captured.failures, len(captured.entries)
    for entry in failures[:LISTED]:
        prompt = cut(entry.prompt, SHOWN)
        say(f"failed: {entry.folder} ({prompt!r}, seed {entry.seed}): {entry.error}", err=True)
    if not failures:
        return
    if dry_run:
        say(f"{len(failures)} of {count_noun(total, 'trace')} cannot be made", err=True)
        return
    others = "; the others are complete" if len(failures) < total else ""
    say(
        f"{len(failures)} of {count_noun(total, 'trace')} failed{others}. The reasons are in "
        f"{captured.path / 'index.json'}; --resume tries these again",
        err=True,
    )
