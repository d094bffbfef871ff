"""A studio whose worker is a script, in a process of its own: Gradio leaves event loops open."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from attn.studio import app, studio
from attn.studio.child import Answer
from attn.studio.options import StudioOptions
from tests.helpers.toy_traces import manifest, write_trace

FACTS = {
    "name": "toy",
    "summary": "",
    "takes": ["drawings", "loras"],
    "prompt": "a cat",
    "options": [{"name": "gain", "type": "float", "default": "1.0", "help": "", "lacks": []}],
    "defaults": {"steps": 3, "guidance": 2.0, "size": "64x96"},
    "demos": ["demo", "demo:other"],
    "loras": ["demo"],
    "note": "demo: tiny",
    "error": None,
}


REMARKS = ("dark strokes; --set ground=light for the other way round",)


class ScriptedChild:
    """Knows one family, and can run nothing."""

    pid = None

    def __init__(self, reword=str):
        """Take what changes messages, of which there are none."""

    def ask(self, order, tell=None):
        if order["do"] == "describe":
            return Answer("done", {"families": [FACTS]})
        return Answer("failed", {"error": "no model here"})

    ask_soon = ask

    def cancel(self):
        pass

    stop = cancel


def addresses(routes, before=""):
    """Yield the method and the address of each route, those of applications in it included."""
    for route in routes:
        path = before + getattr(route, "path", "")
        if hasattr(route, "methods"):
            yield from ((method, path) for method in route.methods or ())
        else:  # an application, or a router of FastAPI's
            yield from addresses(getattr(route, "original_router", route).routes, path)


def serve(root):
    """Serve a trace in a folder with a secret beside it, and say where all of it is."""
    (root / "secret.txt").write_text("secret")
    trace = write_trace(root / "runs" / "t", replace(manifest(samples=1), warnings=REMARKS))
    (trace / "private.txt").write_text("not listed")
    studio.Child = ScriptedChild
    studio._first_family = lambda backend: "toy"
    mount, listed = app._mount, []

    def mounted(blocks):
        made = mount(blocks)
        listed.extend(sorted(set(addresses(made[0].routes))))
        return made

    app._mount = mounted
    server = app.StudioServer(StudioOptions(out=root / "runs"))
    server.start()
    paths = {"secret": root / "secret.txt", "runs": root / "runs"}
    paths["uploads"] = server.studio.uploads.folder
    facts = {"url": server.url, "addresses": listed}
    facts["paths"] = {name: str(path) for name, path in paths.items()}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
