"""Exit codes and what is said of an error."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.errors import AttnError, UsageError


def run(monkeypatch, *arguments, error=None):
    """Return exit code, stdout and stderr of a command in which something is raised."""

    def installed():
        raise error

    monkeypatch.setattr("attn.backends.plugins.registry.installed", installed)
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    """In a folder that was deleted a relative name is an error in one line."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in (
        ["compare", "A", "B"],
        ["analyze", "A", "-o", "x"],
        ["lora", "demo", "-o", "x"],
    ):
        result = CliRunner().invoke(build(), command)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(("kind", "code"), [(AttnError, 1), (UsageError, 2)])
def test_expected_error(monkeypatch, kind, code):
    """An expected error is one message on stderr and its own exit code."""
    assert run(monkeypatch, "backends", error=kind("no")) == (code, "", "Error: no\n")


def test_expected_error_as_json(monkeypatch):
    """With --json there is one object on stdout, whatever happens."""
    code, stdout, stderr = run(monkeypatch, "backends", "--json", error=UsageError("no"))
    assert (code, stderr) == (2, "Error: no\n")
    assert json.loads(stdout) == {
        "command": "backends",
        "status": "failed",
        "path": None,
        "warnings": [],
        "error": "no",
    }


@pytest.mark.parametrize("arguments", [("--debug", "backends"), ("backends", "--debug")])
def test_debug(monkeypatch, arguments):
    """--debug adds the traceback, also when it is added behind the command that failed."""
    code, stdout, stderr = run(monkeypatch, *arguments, error=AttnError("no"))
    assert (code, stdout) == (1, "")
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert stderr.endswith("attn.errors.AttnError: no\n")


def test_interrupt(monkeypatch):
    """Ctrl-C ends with 130 and one line."""
    message = "interrupted; what was finished stays usable\n"
    assert run(monkeypatch, "backends", error=KeyboardInterrupt()) == (130, "", message)


def test_interrupt_as_json(monkeypatch):
    """With --json Ctrl-C is an object too, whose status says so."""
    code, stdout, _ = run(monkeypatch, "backends", "--json", error=KeyboardInterrupt())
    assert (code, json.loads(stdout)) == (
        130,
        {
            "command": "backends",
            "status": "interrupted",
            "path": None,
            "warnings": [],
            "error": "interrupted; what was finished stays usable",
        },
    )


def test_bug(monkeypatch):
    """An error that nobody expected is not dressed up as one."""
    monkeypatch.setattr("attn.backends.plugins.registry.installed", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(build(), ["backends"], catch_exceptions=False)


def test_wrong_option(monkeypatch):
    """A mistyped option is wrong usage."""
    code, stdout, stderr = run(monkeypatch, "backends", "--jsn")
    assert (code, stdout) == (2, "")
    assert stderr.endswith("Error: No such option: --jsn (Possible options: --json)\n")


def test_closed_pipe():
    """A reader that has gone, as in `attn backends | head -0`, is no reason for a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "attn", "backends"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, text=True)
    os.close(writer)
    assert result.stderr == ""
