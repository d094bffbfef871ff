"""`attn studio`."""

from __future__ import annotations

import json
import os
import webbrowser

import typer

from attn.cli.options import Json, Typed, with_options
from attn.cli.terminal import say
from attn.studio.options import StudioOptions


@with_options(StudioOptions)
def studio(context: typer.Context, *, typed: Typed, as_json: Json = False) -> None:
    """Draw, prompt, generate, and watch attention, in a browser."""
    from attn.explorer.guard import LOOPBACK
    from attn.studio.app import StudioServer

    options = StudioOptions(**typed)
    say("loading the families ...", err=True)
    server = StudioServer(options)
    for text in server.studio.choices.left_out:
        say(f"Warning: left out {text}", err=True)
    for name, reason in server.studio.broken.items():
        say(f"Warning: {name} cannot be used: {reason}", err=True)
    if as_json:
        answer = {"command": "studio", "status": "serving", "path": str(options.out)}
        pids = {"pid": os.getpid(), "worker": server.studio.worker}
        say(json.dumps(answer | {"url": server.url, **pids, "warnings": []}))
    else:
        say(server.url)
    if options.host not in LOOPBACK:
        say(f"Whoever gets this address can generate: it listens at {options.host}.", err=True)
    say("Ctrl-C ends it.", err=True)
    if options.browser:
        webbrowser.open(server.url)
    server.run()
