"""An environment of its own, in which nothing but our dependencies is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

DRIVER = """
import json, sys
from typer.testing import CliRunner
from attn.cli import build
answers = []
for arguments in json.loads(sys.stdin.read()):
    done = CliRunner().invoke(build(), arguments)
    answers.append([done.exit_code, done.stdout, done.stderr, repr(done.exception)])
print(json.dumps(answers))
"""


class Answer(NamedTuple):
    """What a command left."""

    code: int
    stdout: str
    stderr: str
    exception: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees the dependencies of this one, but not its `attn`."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None, stdin: str = "") -> str:
        """Run a program of the environment and return what it printed."""
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "ATTN_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONDONTWRITEBYTECODE": "1",  # not into the examples
        }
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd or self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def commands(self, *commands: list[str], cwd: Path | None = None) -> list[Answer]:
        """Run commands of `attn` one after the other in one process: libraries load once."""
        answers = self.run("python", "-c", DRIVER, stdin=json.dumps(commands), cwd=cwd)
        return [Answer(*answer) for answer in json.loads(answers.splitlines()[-1])]

    def install(self, *packages: Path | str) -> None:
        """Install packages by pip, without touching the network."""
        pip(
            *("--python", str(self.folder / "bin" / "python"), "install", "--force-reinstall"),
            *map(str, packages),
        )


def pip(*arguments: str) -> None:
    """Run pip offline, with the build tools that are here."""
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", *arguments, *offline]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make_environment(folder: Path) -> Environment:
    """Make an empty environment that finds the dependencies of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python3*/site-packages"))
    own = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    # a folder in a .pth file is searched, but its own .pth files, such as that of an editable
    # `attn`, are not read
    (packages / "dependencies.pth").write_text("\n".join(own))
    return Environment(folder)
