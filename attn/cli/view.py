"""`attn view`."""

from __future__ import annotations

import json
import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from attn.cli._options import Json, Typed, with_options
from attn.cli._terminal import say
from attn.verbs.view_options import ViewOptions


@with_options(ViewOptions)
def view(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH…]", help="Traces, or folders of them.", show_default="attn-runs"
        ),
    ] = None,
    *,
    typed: Typed,
    as_json: Json = False,
) -> None:
    """Look at traces in a browser: pictures, words, layers, heads, steps."""
    from attn.explorer.guard import LOOPBACK
    from attn.verbs.view import DEFAULT, make_server

    options, sources = ViewOptions(**typed), paths or [Path(DEFAULT)]
    server = make_server(sources, options)
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
