"""What reaches the terminal: nothing that steers it, no broken object, no lost error."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attn.__main__ import main

WRITES = """
import os, subprocess, sys
from attn.cli import terminal
terminal.keep_results_apart()
os.write(1, b"a library\\n")
subprocess.run([sys.executable, "-c", "print('a program')"], check=True)
terminal.say("{}")
"""
LOSES = """
import time
from attn.cli import terminal
terminal.resend_lost_interrupts()
class Lost:
    def __del__(self):
        raise KeyboardInterrupt
try:
    Lost()
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted")
"""


def attn(*arguments, **settings):
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "attn", *arguments],
        check=False,
        env=os.environ | {"ATTN_DISABLE_PLUGINS": "all"} | settings.pop("env", {}),
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def python(code):
    """Return what a script prints on stdout and on stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk():
    """A result that could not be printed is an error with exit code 1, not a traceback."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = attn("backends", "--json", stdout=full)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: could not write to standard output: No space left on device; what the command "
        "wrote into files is complete\n",
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes by name")
def test_pipe_for_a_model(tmp_path):
    """A pipe is refused before libraries are imported for it, and nobody waits for its writer."""
    os.mkfifo(tmp_path / "m")
    code = (
        "import sys, attn.cli as cli\n"
        "sys.argv = ['attn', 'capture', '-b', 'sd35', '-m', sys.argv[1]]\n"
        "try:\n    cli.main()\nfinally:\n    print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr == (
        f"Error: {tmp_path}/m: this is neither a file nor a folder; expected a .safetensors file "
        "or the folder of a model\n"
    )


def test_closed_output():
    """With --json and nobody to print to, the command fails, as every program of the system."""
    done = attn("backends", "--json", preexec_fn=lambda: os.close(1))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: could not write to standard output: it is closed;")


def test_narrow_encoding():
    """On a terminal without Unicode what it lacks is spelled, and JSON stays JSON."""
    done = attn("lora", "demo", "--json", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout)["status"] == "complete"
    done = attn("lora", "demo", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u2016" in done.stdout


def test_descriptor_of_results():
    """What libraries and programs write to descriptor 1 does not get into the results."""
    assert python(WRITES) == ("{}\n", "a library\na program\n")


def test_escapes_in_messages(tmp_path):
    """A name with an escape sequence is spelled out in a message."""
    done = attn("analyze", str(tmp_path / "\x1b]0;mine\x07"), stdout=subprocess.PIPE)
    assert "\x1b" not in done.stderr
    assert r"\u001b]0;mine\u0007" in done.stderr


def test_interrupt_before_the_command(monkeypatch, capsys):
    """Ctrl-C while modules are still imported ends with one line as well."""

    def interrupted():
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("attn.cli.run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; what was finished stays usable\n"


def test_lost_interrupt():
    """Ctrl-C that Python swallows in a destructor is sent again."""
    assert python(LOSES) == ("interrupted\n", "")
