"""What costs little is refused before a family is imported, which takes seconds."""

import pytest
from PIL import Image

from attn.errors import AttnError
from attn.verbs.capture.capture import capture
from attn.verbs.compare.compare import compare
from tests.helpers.editing import special
from tests.lora.test_large import factors, sparse_file

UNREAD = "cannot read PATH: this is no regular file; expected a regular file."


@pytest.fixture(autouse=True)
def unloadable(monkeypatch):
    """Fail where a family is imported."""

    def load(registered):
        pytest.fail(f"{registered.spec.name} is loaded")

    monkeypatch.setattr("attn.backends.plugins.guard.load", load)


def large_drawing(path):
    """Draw a picture of few bytes and many pixels."""
    Image.new("1", (4001, 4003)).save(path)
    return path


def large_lora(path):
    """Write a file that claims more bytes than any LoRA has."""
    return sparse_file(path, factors({"diff": [2**16, 2**17]}))


def written(path, text):
    """Write a text."""
    path.write_text(text)
    return path


FAULTS = {
    "drawing, large": ("sketch", "a.png", large_drawing, "the sketch PATH cannot be used: it is"),
    "drawing, PostScript": (
        "sketch", "a.png", lambda path: written(path, "%!PS-Adobe-3.0"), "is no picture that can",
    ),
    "drawing, pipe": ("sketch", "a.png", lambda path: special(path, "pipe"), UNREAD),
    "drawing, missing": ("sketch", "a.png", lambda path: path, "cannot read PATH: the file or its"),
    "prompts, pipe": ("prompts", "a.txt", lambda path: special(path, "pipe"), UNREAD),
    "prompts, nested": (
        "prompts", "a.json", lambda path: written(path, "[" * 5000), "PATH is not JSON",
    ),
    "LoRA, large": ("lora", "a.safetensors", large_lora, "PATH has 17.2 GB, more than any LoRA"),
    "LoRA, missing": ("lora", "a.safetensors", lambda path: path, "cannot read PATH: the file or"),
    "model, text": (
        "model", "a.safetensors", lambda path: written(path, "<html>"), "PATH: this is an HTML",
    ),
    "model, pipe": (
        "model", "a.safetensors", lambda path: special(path, "pipe"), "PATH: this is neither",
    ),
    "folder, not empty": (
        "out", "a", lambda path: (path.mkdir(), written(path / "b", ""))[1].parent,
        "PATH is not empty",
    ),
}  # fmt: skip
"""Options with what is wrong in their files, and how the message begins."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", ["capture", "compare"])
def test_refused_first(tmp_path, verb, fault):
    """Files and folders that cannot be used are an error before anything is imported for them."""
    name, file, make, message = FAULTS[fault]
    path = make(tmp_path / file)
    arguments = {"backend": "scribble", name: path} | ({} if name == "prompts" else {"prompt": "a"})
    if verb == "compare":
        kind = "sketch" if name == "sketch" else "lora"
        arguments[kind] = [str(path), "none"] if kind == "sketch" else arguments.get("lora", "demo")
    with pytest.raises(AttnError, match=message.replace("PATH", str(path))):
        (compare if verb == "compare" else capture)(**arguments)


def test_words_in_place_of_a_drawing_are_left_to_the_backend(tmp_path, monkeypatch):
    """A name without an ending or a folder may be a word that a backend knows."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "outline", "no picture")
    with pytest.raises(pytest.fail.Exception, match="scribble is loaded"):
        capture("scribble", "a cat", sketch="outline", out="run")


def test_prompts_that_lack_a_word():
    """Words that a comparison asks for are looked for in the prompts first."""
    with pytest.raises(AttnError, match="do not share a word 'zebra'"):
        compare(backend="sd15", lora="demo", prompt="a cat", words="zebra")
