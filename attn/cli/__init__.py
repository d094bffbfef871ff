"""The command line; importing this package or a command is cheap.

commands    a file for each: options in, one verb, lines or JSON out
errors      the one place that turns errors into exit codes
terminal    what is printed: safe for any terminal
report      progress and warnings on stderr
progress    how far a run is, as text and as lines of JSON
once, options, plan, text   what commands share
compared, lora, inventory   what is printed of a comparison, a LoRA, the files of a model
"""

from __future__ import annotations

from typing import Annotated

import typer

from attn.cli.errors import Commands
from attn.cli.once import Once
from attn.cli.terminal import keep_results_apart, resend_lost_interrupts, say
from attn.library_warnings import hush_libraries


def main() -> None:
    """Run the command `attn`."""
    build()()


def run() -> None:
    """Run the command `attn` in a process of its own."""
    hush_libraries()
    keep_results_apart()
    resend_lost_interrupts()
    main()


def build() -> typer.Typer:
    """Return the application with all its commands."""
    from attn.cli.commands.ablate import ablate
    from attn.cli.commands.analyze import analyze
    from attn.cli.commands.backends import backends
    from attn.cli.commands.capture import capture
    from attn.cli.commands.compare import compare
    from attn.cli.commands.evaluate import evaluate
    from attn.cli.commands.gallery import gallery
    from attn.cli.commands.lora import lora
    from attn.cli.commands.merge import merge
    from attn.cli.commands.studio import studio
    from attn.cli.commands.verify import verify
    from attn.cli.commands.view import view

    app = typer.Typer(
        cls=Commands,
        rich_markup_mode=None,  # importing rich would double the time of --help
        pretty_exceptions_enable=False,  # a bug shows Python's own traceback
        add_completion=False,
        no_args_is_help=True,
    )
    app.callback()(_globals)
    # the order of `attn --help`
    looking = (view, studio, gallery, verify, merge, lora, backends)
    for command in (capture, analyze, compare, ablate, evaluate, *looking):
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
