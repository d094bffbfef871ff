"""The one place that turns errors into messages and exit codes.

0 done · 1 `AttnError` · 2 wrong usage · 130 Ctrl-C. A bug keeps its traceback, a closed pipe is
quiet; both are left to Typer and Python.
"""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from attn.cli.terminal import say
from attn.errors import AttnError, OutputError
from attn.files.disk import is_there

if TYPE_CHECKING:
    from attn.verbs.report import Report

ANSWERED = "attn.answered"
"""Mark in a context's `meta`: the command has printed its JSON object already."""
REPORT = "attn.report"
"""In a context's `meta`: what the command has told so far."""
GONE = "the working folder does not exist any more; change to another one, or back into it"
INTERRUPTED = "interrupted; what was finished stays usable"


class Commands(TyperGroup):
    """The group of all commands, which speaks for their errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` at any place: it is added at the end of the command that failed."""
        ctx.meta[ANSWERED] = "--json" not in args
        return super().parse_args(ctx, sorted(args, key=lambda argument: argument != "--debug"))

    def invoke(self, ctx: Any) -> Any:
        """Run a command and leave with the exit code of what it raised."""
        try:
            return super().invoke(ctx)
        except AttnError as error:
            from attn.demo.shipped import with_names

            told = with_names(str(error))
            if ctx.params["debug"]:
                traceback.print_exception(error)
            else:
                say(f"Error: {told}", err=True)
            _answer(ctx, "failed", told)
            raise typer.Exit(error.exit_code) from error
        except FileNotFoundError as error:
            if _has_working_folder():
                raise
            say(f"Error: {GONE}", err=True)
            _answer(ctx, "failed", GONE)
            raise typer.Exit(AttnError.exit_code) from error
        except KeyboardInterrupt:
            say(INTERRUPTED, err=True)
            _answer(ctx, "interrupted", INTERRUPTED)
            raise typer.Exit(130) from None


def _has_working_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _answer(context: Any, status: str, error: str) -> None:
    """With --json, print the object of a command that ended before it had one of its own."""
    if context.meta[ANSWERED]:
        return
    report: Report | None = context.meta.get(REPORT)
    path = None if report is None else report.path
    answer = {
        "command": context.invoked_subcommand,
        "status": status,
        "path": str(path) if path and is_there(path) else None,
        "warnings": [] if report is None else report.warnings,
        "error": error,
    }
    with suppress(OutputError):  # the message on stderr says it all
        say(json.dumps(answer))
