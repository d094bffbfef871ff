"""The command line: one file per command; importing this package or a command is cheap.

capture, analyze, compare, …   one command each: options in, one verb, lines or JSON out
_errors     the one place that turns errors into exit codes
_terminal   what is printed: safe for any terminal
_report     progress and warnings on stderr
_once, _options, _plan, _text   what commands share
"""

from __future__ import annotations

from typing import Annotated

import typer

from attn.cli._errors import Commands
from attn.cli._once import Once
from attn.cli._terminal import keep_results_apart, resend_lost_interrupts, say


def main() -> None:
    """Run the command `attn`."""
    build()()


def run() -> None:
    """Run the command `attn` in a process of its own."""
    keep_results_apart()
    resend_lost_interrupts()
    main()


def build() -> typer.Typer:
    """Return the application with all its commands."""
    from attn.cli.ablate import ablate
    from attn.cli.analyze import analyze
    from attn.cli.backends import backends
    from attn.cli.capture import capture
    from attn.cli.compare import compare
    from attn.cli.gallery import gallery
    from attn.cli.lora import lora
    from attn.cli.verify import verify
    from attn.cli.view import view

    app = typer.Typer(
        cls=Commands,
        rich_markup_mode=None,  # importing rich would double the time of --help
        pretty_exceptions_enable=False,  # a bug shows Python's own traceback
        add_completion=False,
        no_args_is_help=True,
    )
    app.callback()(_globals)
    # the order of `attn --help`
    for command in (capture, analyze, compare, ablate, view, gallery, verify, lora, backends):
        app.command(cls=Once)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from attn.versions import attn_version

        say(f"attn {attn_version()}")
        raise typer.Exit


def _globals(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """See what a diffusion model attends to."""
