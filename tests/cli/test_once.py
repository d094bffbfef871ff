"""Options that are taken once, for every command."""

import pytest
from typer.testing import CliRunner

from attn.cli import build

TWICE = {
    "capture -b scribble --sketch a.png --sketch b.png": "--sketch is given 2 times, expected once "
    "(Drawing for backends that read one: FILE, or none; compare takes several.)",
    "analyze run --only words --only sinks --only words": "--only is given 3 times, expected once "
    "(Only these analyses: NAME,NAME,…)",
    "compare a b --only words --only sinks": "--only is given 2 times, expected once "
    "(Only these: words, layers, heads, steps, sinks, maps, images, sketch.)",
    "capture -b sdxl --backend sd15": "--backend is given 2 times, expected once "
    "(Model family; see `attn backends`.)",
    "backends -m a -m b": "--model is given 2 times, expected once "
    "(Say what this file or folder is.)",
}


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(("arguments", "message"), TWICE.items(), ids=TWICE)
def test_twice(arguments, message):
    """An option with one value that is given twice is refused, and its help says what it takes."""
    assert run(*arguments.split()) == (2, "", f"Error: {message}\n")


def test_what_may_be_repeated():
    """Lists and switches are taken as often as they are given."""
    arguments = "-p cat -p dog --lora a --lora b --set clip_skip=1 --set vae=x --json --json"
    code, _, stderr = run("capture", "-b", "sdxl", *arguments.split())
    expected = "Error: vae of which model? give it with --model, or its denoiser with --set unet="
    assert (code, stderr) == (2, f"{expected}PATH\n")
