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
    """Serve a studio of one family; its `url`, and the paths `secret`, `runs` and `uploads`."""
    command = [
        sys.executable,
        "-m",
        "tests.helpers.studio.scripted",
        str(tmp_path_factory.mktemp("s")),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        facts = json.loads(process.stdout.readline())
        url = facts.pop("url")
        yield SimpleNamespace(url=url, **{name: Path(path) for name, path in facts.items()})
        process.stdin.close()
