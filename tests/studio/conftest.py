"""A server of a studio, for what it lets in."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def toy_server(tmp_path_factory):
    """Serve a studio of one family: `url`, Gradio's `addresses`, `secret`, `runs`, `log`, …."""
    command = [
        sys.executable,
        "-m",
        "tests.helpers.studio.scripted",
        str(tmp_path_factory.mktemp("s")),
    ]
    log = tmp_path_factory.mktemp("log") / "stderr"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        log.open("w") as pipes["stderr"],
        subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process,
    ):
        facts = json.loads(process.stdout.readline())
        paths = {name: Path(path) for name, path in facts.pop("paths").items()}
        yield SimpleNamespace(log=log, **facts, **paths)
        process.stdin.close()
