"""`attn view`."""

from __future__ import annotations

import json
import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from attn.cli.options import Json, Typed, with_options
from attn.cli.terminal import say
from attn.errors import UsageError
from attn.verbs.view_options import ViewOptions

OF_SERVER = ("port", "host", "allow_host", "browser")
"""Options that say how the page is served."""


@with_options(ViewOptions)
def view(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH…]",
            help="Traces, or folders of them; or URLs of such: s3://BUCKET/RUN.",
            show_default="attn-runs",
        ),
    ] = None,
    *,
    typed: Typed,
    as_json: Json = False,
) -> None:
    """Look at traces in a browser: pictures, words, layers, heads, steps."""
    from attn.verbs.view import DEFAULT

    _require_use(typed)
    options, sources = ViewOptions(**typed), paths or [DEFAULT]
    if options.out is None:
        _serve(sources, options, as_json)
    else:
        _save(sources, options, as_json)


def _require_use(typed: Typed) -> None:
    """Refuse options that would change nothing: of the server beside --out, of the file without.

    Raises:
        UsageError: names the first.
    """
    if "out" not in typed and "size" in typed:
        raise UsageError("--size is of the file that --out writes: name it with --out PAGE.html")
    if "out" in typed:
        named = [name for name in OF_SERVER if typed.get(name, False) is not False]
        if named:
            flag = named[0].replace("_", "-")
            raise UsageError(
                f"--{flag} is of the server, and --out writes a file without one: leave out --out, "
                f"or --{flag}"
            )


def look(sources: Sequence[str | Path], *, at_first: bool = False) -> None:
    """Show what a command made, until Ctrl-C; its own answer has stdout.

    Args:
        sources: traces, comparisons, or folders with such in them.
        at_first: begin with the first of them, not with the list of all.
    """
    from attn.verbs.view import make_server

    server = make_server(sources, ViewOptions())
    address = f"{server.url}#t=0" if at_first else server.url
    say(address, err=True)
    say("Ctrl-C ends it.", err=True)
    webbrowser.open(address)
    server.run()


def _tell(text: str) -> None:
    say(text, err=True)


def _save(sources: Sequence[str], options: ViewOptions, as_json: bool) -> None:
    """Write the page, and say what did not fit."""
    from attn.verbs.view import save_page

    left_out = save_page(sources, options, _tell)
    for sentence in left_out:
        say(sentence, err=True)
    if as_json:
        answer = {"command": "view", "status": "complete", "path": str(options.out)}
        say(json.dumps(answer | {"left_out": left_out, "warnings": []}))
    else:
        say(str(options.out))


def _serve(sources: Sequence[str], options: ViewOptions, as_json: bool) -> None:
    """Serve the page until Ctrl-C."""
    from attn.explorer.guard import LOOPBACK
    from attn.verbs.view import make_server

    server = make_server(sources, options, _tell)
    if as_json:
        answer = {"command": "view", "status": "serving", "path": str(sources[0])}
        say(json.dumps(answer | {"url": server.url, "pid": os.getpid(), "warnings": []}))
    else:
        say(server.url)
    if options.host not in LOOPBACK:
        say(f"Whoever gets this address sees these traces: it listens at {options.host}.", err=True)
    say("Ctrl-C ends it.", err=True)
    if options.browser:
        webbrowser.open(server.url)
    server.run()
