"""A studio whose worker is a script, in a process of its own: Gradio leaves event loops open."""

import json
import sys
from pathlib import Path

from attn.studio import studio
from attn.studio.app import StudioServer
from attn.studio.child import Answer
from attn.studio.options import StudioOptions
from tests.helpers.toy_traces import manifest, write_trace

FACTS = {
    "name": "toy",
    "summary": "",
    "takes": ["drawings", "loras"],
    "prompt": "a cat",
    "options": [{"name": "gain", "type": "float", "default": "1.0", "help": ""}],
    "defaults": {"steps": 3, "guidance": 2.0, "size": "64x96"},
    "has_demo": True,
    "error": None,
}


class ScriptedChild:
    """Knows one family, and can run nothing."""

    pid = None

    def ask(self, order, tell=None):
        if order["do"] == "describe":
            return Answer("done", {"families": [FACTS]})
        return Answer("failed", {"error": "no model here"})

    ask_if_idle = ask

    def cancel(self):
        pass

    stop = cancel


def serve(root):
    """Serve a trace in a folder with a secret beside it, and say where all of it is."""
    (root / "secret.txt").write_text("secret")
    trace = write_trace(root / "runs" / "t", manifest(samples=1))
    (trace / "private.txt").write_text("not listed")
    studio.Child = ScriptedChild
    studio._first_family = lambda backend: "toy"
    server = StudioServer(StudioOptions(out=root / "runs"))
    server.start()
    facts = {"url": server.url, "secret": root / "secret.txt", "runs": root / "runs"}
    facts["uploads"] = server.studio.uploads.folder
    sys.stdout.write(json.dumps({name: str(value) for name, value in facts.items()}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
