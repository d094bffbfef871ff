"""`attn backends`."""

import json
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner

from attn.backends import Backend, BackendSpec
from attn.backends.manager import Failure, Installed, Registered
from attn.cli import build


@dataclass(frozen=True)
class ToyOptions:
    vae: str | None = field(default=None, metadata={"help": "another decoder"})
    rows: int = field(default=3, metadata={"help": "rows of shapes"})


class Toy(Backend):
    Options = ToyOptions

    def open(self, source, options, **rest):
        raise NotImplementedError


@dataclass(frozen=True)
class NoOptions:
    pass


class Plain(Toy):
    Options = NoOptions


BROKEN = Failure("bad", "attn-bad", "import", "SystemExit: 3", "uninstall attn-bad")
TOY = Registered(BackendSpec("toy", "A toy", Toy, ("t", "tiny")), "toy", "attn-toy", "1.2")
PLAIN = Registered(BackendSpec("plain", "Without options", Plain), "toy", "attn-toy", "1.2")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Put two backends and a broken plugin in place of what is installed here."""
    found = Installed((PLAIN, TOY), (BROKEN,))
    monkeypatch.setattr("attn.backends.manager.installed", lambda: found)


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.stdout, result.stderr


def test_list():
    """The list shows what can be used, from where, and what could not be loaded and why."""
    expected = """\
BACKEND  ALIASES  SUMMARY          FROM
plain             Without options  attn-toy 1.2
toy      t, tiny  A toy            attn-toy 1.2

not usable:
  attn-bad (plugin 'bad'): import: SystemExit: 3; uninstall attn-bad
"""
    assert run("backends") == (0, expected, "")


def test_list_without_failures(monkeypatch):
    """Where every plugin loads, nothing is said of failures."""
    monkeypatch.setattr("attn.backends.manager.installed", lambda: Installed((PLAIN,), ()))
    expected = """\
BACKEND  ALIASES  SUMMARY          FROM
plain             Without options  attn-toy 1.2
"""
    assert run("backends") == (0, expected, "")


@pytest.mark.parametrize("name", ["toy", "tiny"])
def test_details(name):
    """One backend, by name or alias, is shown with every option that `--set` takes."""
    expected = """\
backend  toy
aliases  t, tiny
summary  A toy
from     attn-toy 1.2

OPTION  TYPE         DEFAULT  MEANING
vae     str or none  none     another decoder
rows    int          3        rows of shapes

Set one with --set OPTION=VALUE.
"""
    assert run("backends", name) == (0, expected, "importing toy ...\n")


def test_details_without_options():
    """A backend without options says so."""
    expected = """\
backend  plain
aliases  none
summary  Without options
from     attn-toy 1.2
options  none
"""
    assert run("backends", "plain") == (0, expected, "importing plain ...\n")


def test_json_list():
    """With --json stdout is one object, failures included."""
    code, stdout, _ = run("backends", "--json")
    assert code == 0
    toy = {"distribution": "attn-toy", "version": "1.2"}
    assert json.loads(stdout) == {
        "command": "backends",
        "status": "done",
        "path": None,
        "warnings": ["attn-bad (plugin 'bad'): import: SystemExit: 3; uninstall attn-bad"],
        "backends": [
            {"name": "plain", "aliases": [], "summary": "Without options", **toy},
            {"name": "toy", "aliases": ["t", "tiny"], "summary": "A toy", **toy},
        ],
        "failures": [
            {
                "plugin": "bad",
                "distribution": "attn-bad",
                "stage": "import",
                "cause": "SystemExit: 3",
                "fix": "uninstall attn-bad",
                "names": [],
            }
        ],
    }


def test_json_details():
    """With --json one backend comes with its options as data."""
    _, stdout, _ = run("backends", "toy", "--json")
    (toy,) = json.loads(stdout)["backends"]
    assert toy["name"] == "toy"
    assert toy["options"] == [
        {"name": "vae", "type": "str or none", "default": "none", "help": "another decoder"},
        {"name": "rows", "type": "int", "default": "3", "help": "rows of shapes"},
    ]


def test_unknown_name():
    """A mistyped name is a usage error with a suggestion, and prints nothing on stdout."""
    message = "Error: no backend 'ty'. Did you mean 'toy'? Installed: plain, t, tiny, toy.\n"
    assert run("backends", "ty") == (2, "", message)
