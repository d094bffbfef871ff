"""`attn view`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.explorer.server import Server
from attn.verbs import view
from attn.verbs.view import find_traces as find
from tests.helpers.toy_traces import manifest, write_collection, write_trace


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path):
    """A trace."""
    return write_trace(tmp_path / "t", manifest(samples=1))


@pytest.fixture
def opened(monkeypatch):
    """Let the server end at once, and return the addresses that a browser was given."""
    addresses = []
    monkeypatch.setattr(Server, "run", Server.stop)
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_address(folder, opened):
    """The address is all that stdout has, and what the browser opens."""
    code, stdout, stderr = run("view", folder)
    assert (code, stderr) == (0, "Ctrl-C ends it.\n")
    assert stdout == f"{opened[0]}\n"


def test_json(folder, opened):
    """With --json stdout is one object; --no-browser opens nothing."""
    code, stdout, stderr = run("view", folder, "--json", "--no-browser")
    answer = json.loads(stdout)
    assert (code, stderr, opened) == (0, "Ctrl-C ends it.\n", [])
    assert answer.pop("url").startswith("http://127.0.0.1:")
    assert answer == {
        "command": "view",
        "status": "serving",
        "path": str(folder),
        "pid": os.getpid(),
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["nowhere"],
            1,
            "nowhere does not exist: name a trace or a folder with traces in it, or make one with "
            "attn capture --out nowhere",
        ),
        (
            ["../t/outputs/image-0.png"],
            1,
            "../t/outputs/image-0.png is a file and no trace: name the folder of a trace, or one "
            "with traces in it",
        ),
        (["."], 1, ". holds no trace; make one with attn capture --out NAME"),
        (
            [],
            1,
            "attn-runs does not exist: name a trace or a folder with traces in it, or make one "
            "with attn capture --out attn-runs",
        ),
        (["t", "--port", "99999"], 2, "port: expected 0 to 65535; got 99999"),
        (
            ["t", "--size", "3MB"],
            2,
            "--size is of the file that --out writes: name it with --out PAGE.html",
        ),
        *(
            (
                ["t", "--out", name],
                2,
                f"out: expected the name of a page, such as page.html; got '{name}'",
            )
            for name in ("x.txt", "page", ".", "html")
        ),
        *(
            (
                ["t", "--out", "page.html", flag, *value],
                2,
                f"{flag} is of the server, and --out writes a file without one: leave out --out, "
                f"or {flag}",
            )
            for flag, *value in (
                ["--port", "0"],
                ["--host", "127.0.0.1"],
                ["--allow-host", "box"],
                ["--browser"],
            )
        ),
        *(
            (
                ["t", "--allow-host", name],
                2,
                "allow_host: expected the name of a host without port, such as box.example; got "
                f"'{name}'",
            )
            for name in ("a b/c", "box:7860", "[::1]", "-a", "http://box", "", "a..b", "*.box")
        ),
        (
            ["t", "--host", "0.0.0.0"],
            2,
            "--host 0.0.0.0 lets other machines in: name the host under which they may ask, with "
            "--allow-host NAME",
        ),
    ],
)
def test_bad_input(arguments, code, said, tmp_path, monkeypatch, opened):
    """What cannot be shown is one sentence, before a browser opens."""
    (tmp_path / "empty").mkdir()
    write_trace(tmp_path / "empty" / ".t", manifest(samples=1))
    monkeypatch.chdir(tmp_path / "empty")
    pathlib.Path(".t").rename(tmp_path / "t")
    arguments = ["../t" if argument == "t" else argument for argument in arguments]
    got = run("view", *arguments)
    assert got == (code, "", f"Error: {said}\n")
    assert opened == []


def test_interrupt(folder):
    """Ctrl-C ends a real server with code 130 and frees the port."""
    # a test run in the background ignores Ctrl-C, and its children would inherit that
    python = ["env", "--default-signal=INT", sys.executable]
    command = [*python, "-m", "attn", "view", str(folder), "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        url = process.stdout.readline().strip()
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url) as page:
            assert b"<title>attn</title>" in page.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert (
            process.stderr.read().splitlines()[-1] == "interrupted; what was finished stays usable"
        )


def test_one_file(folder, opened, tmp_path):
    """With -o a file is written and no server begins; stdout has its name."""
    code, stdout, stderr = run("view", folder, "-o", tmp_path / "page.html")
    assert (code, stdout, stderr, opened) == (0, f"{tmp_path / 'page.html'}\n", "", [])
    code, stdout, _ = run("view", folder, "-o", tmp_path / "page.html", "--json")
    assert (code, json.loads(stdout)) == (
        0,
        {
            "command": "view",
            "status": "complete",
            "path": str(tmp_path / "page.html"),
            "left_out": [],
            "warnings": [],
        },
    )


def test_what_is_left_out(tmp_path, opened):
    """What did not fit stands on stderr, sentence by sentence, with the trace that it is of."""
    trace = write_trace(tmp_path / "t", manifest(samples=1), picture=(900, 1300))
    _, _, stderr = run("view", trace, "-o", tmp_path / "page.html")
    assert stderr == "t: outputs/image-0.png is smaller than it was made: 1024 pixels at most.\n"


def test_view_when_done(folder, opened):
    """`--view` of another command opens what it made; its own answer stays alone on stdout."""
    code, stdout, stderr = run("analyze", folder, "--only", "words", "--no-pictures", "--view")
    assert code == 0
    assert "127.0.0.1" not in stdout
    assert stderr.endswith(f"{opened[0]}\nCtrl-C ends it.\n")


def test_comparison_when_done(tmp_path, opened, monkeypatch):
    """`compare --view` begins with the comparison, and has the pairs that it was made of."""
    shown = []
    monkeypatch.setattr(view, "find_traces", lambda *of: shown.append(find(*of)) or shown[-1])
    runs = [tmp_path / "a", tmp_path / "b"]
    for run_folder in runs:
        write_collection(run_folder, [7, 3])
    out = tmp_path / "out"
    parts = ["--only", "words", "--no-pictures"]
    code, stdout, stderr = run("compare", *runs, "-o", out, *parts, "--view")
    assert (code, stderr.endswith(f"{opened[0]}\nCtrl-C ends it.\n")) == (0, True)
    assert opened[0].endswith("#t=0") and "127.0.0.1" not in stdout
    labels = [item.label for item in shown[0].items]
    assert labels == ["comparison", "a/0000", "a/0001", "b/0000", "b/0001"]
