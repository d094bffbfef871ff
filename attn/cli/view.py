"""`attn view`."""

from __future__ import annotations

import json
import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from attn.cli._options import Json
from attn.cli._terminal import say


def view(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH…]", help="Traces, or folders of them.", show_default="attn-runs"
        ),
    ] = None,
    *,
    port: Annotated[
        int | None, typer.Option("--port", help="Default: the first free one from 7860.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name of this server; may be repeated."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or print its address.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Look at traces in a browser: pictures, words, layers, heads, steps."""
    from attn.explorer.guard import LOOPBACK
    from attn.verbs.view import DEFAULT, ViewOptions, make_server

    options = ViewOptions(port, host, tuple(allow_host or ()), browser)
    server = make_server(paths or [Path(DEFAULT)], options)
    if as_json:
        answer = {"command": "view", "status": "serving", "path": str((paths or [DEFAULT])[0])}
        say(json.dumps(answer | {"url": server.url, "pid": os.getpid(), "warnings": []}))
    else:
        say(server.url)
    if host not in LOOPBACK:
        say(f"Whoever gets this address sees these traces: it listens at {host}.", err=True)
    say("Ctrl-C ends it.", err=True)
    if browser:
        webbrowser.open(server.url)
    server.run()
