"""The one place that turns errors into messages and exit codes.

0 done · 1 `AttnError` · 2 wrong usage · 130 Ctrl-C. A bug keeps its traceback, a closed pipe is
quiet; both are left to Typer and Python.
"""

from __future__ import annotations

import json
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from attn.errors import AttnError

ANSWERED = "attn.answered"
"""Mark in a context's `meta`: the command has printed its JSON object already."""


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
            if ctx.params["debug"]:
                traceback.print_exception(error)
            else:
                typer.echo(f"Error: {error}", err=True)
            if not ctx.meta[ANSWERED]:
                typer.echo(_answer(ctx.invoked_subcommand, error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            typer.echo("interrupted; what was finished stays usable", err=True)
            raise typer.Exit(130) from None


def _answer(command: str, error: AttnError) -> str:
    """Return the JSON object of a command that failed before it had one of its own."""
    answer: dict[str, Any] = {
        "command": command,
        "status": "failed",
        "path": None,
        "warnings": [],
        "error": str(error),
    }
    return json.dumps(answer)
