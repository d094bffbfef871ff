"""The form: fields made of typed options, requests made of fields, and their command."""

import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.demo.shipped import LORAS
from attn.errors import UsageError
from attn.studio.choices import make_choices
from attn.studio.command import as_command
from attn.studio.drawing import SIDE, draw_shapes
from attn.studio.form import (
    FIRST,
    FURTHER,
    Field,
    begin_request,
    capture_fields,
    empty_fields,
    make_request,
    setting_fields,
)
from attn.studio.options import StudioOptions
from attn.studio.telling import tell_empty
from tests.helpers.studio.scripted import FACTS


def option(name, kind, default):
    return {
        "name": name,
        "type": kind,
        "default": default,
        "help": "what it does",
        "lacks": ["canny"],
    }


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        (("gate", "yes|no", "yes"), ("switch", True, ())),
        (("fit", "pad|stretch", "pad"), ("choice", "pad", ("pad", "stretch"))),
        (("edges", "none|canny", "none"), ("choice", "none", ("none",))),
        (("length", "int", "7"), ("whole", 7, ())),
        (("scale", "float or none", "none"), ("number", None, ())),
        (("layers", "int,…", "1,3"), ("text", "1,3", ())),
        (("vae", "str or none", "none"), ("choice", "none", ("none", "x"))),
        (("chat", "path", "model"), ("choice", "model", ("model", "x"))),
    ],
)
def test_fields_of_a_family(declared, field):
    """Each type of option has its field; a text, which may name a file, is chosen, never typed.

    What lacks a package is not offered.
    """
    (made,) = setting_fields({"options": [option(*declared)]}, {"x": "/m/x"})
    assert (made.kind, made.default, made.choices) == field
    assert made.help == "what it does"


def test_fields_of_the_capture():
    """Defaults are the model's, bounds are told, and what a model has not is left out."""
    fields = {about.name: about for about in capture_fields((*FIRST, *FURTHER), FACTS)}
    assert (fields["steps"].kind, fields["steps"].default) == ("whole", 3)
    assert fields["steps"].help.endswith("At least 1.")
    assert fields["keep"].choices == ("mass", "means", "maps", "heads", "factors")
    assert "generate" not in fields
    none = FACTS | {"defaults": {"steps": 3}}
    assert {"guidance", "size"}.isdisjoint(about.name for about in capture_fields(FIRST, none))


def test_no_field_names_a_file():
    """Folders, files and drawings are nobody's to type."""
    names = {about.name for about in capture_fields((*FIRST, *FURTHER), FACTS)}
    assert names.isdisjoint({"model", "prompts", "lora_dir", "out", "lora", "sketch", "settings"})


def test_request_and_command():
    """What differs from the defaults is in the request, and the command reads as the same."""
    fields = [
        *capture_fields((*FIRST, *FURTHER), FACTS),
        Field("gain", "number", 1.0, "", (), True),
        Field("vae", "choice", "none", "", ("none", "x"), True, {"x": "/m/x"}),
    ]
    values = {about.name: about.default for about in fields}
    values |= {
        "size": "96x64",
        "images": 3.0,
        "gain": 0.5,
        "vae": "x",
        "entropy": True,
        "negative": " ",
    }
    request = {"backend": "toy", "model": "demo", "prompt": "-a 'cat'", "lora": ["x:1", "y:0.5"]}
    request |= make_request(fields, values)
    assert request["size"] == [96, 64]
    assert request["settings"] == {"gain": "0.5", "vae": "/m/x"}
    assert shlex.split(as_command(request)) == [
        *("attn", "capture", "-b", "toy", "--prompt=-a 'cat'", "--lora", "x:1", "--lora", "y:0.5"),
        *("--steps", "3", "--guidance", "2.0", "--size", "96x64", "--keep", "maps"),
        *("--images", "3", "--entropy"),
        *("--set", "gain=0.5", "--set", "vae=/m/x"),
    ]  # fmt: skip


def test_what_is_left_empty():
    """What stands for emptied fields is told by their names; what has no default is left out."""
    fields = [
        about for about in capture_fields(FIRST, FACTS) if about.name in ("steps", "negative")
    ]
    values = {"seed": None, "loras": ["a", None, "none", 1], "fields": dict.fromkeys(FIRST)}
    told = tell_empty(empty_fields(fields, values))
    assert told == "Left empty: 'Seed' is 0, 'Scale of LoRA 1' is 1, 'Steps' is 3."
    full = {"seed": 5, "loras": [], "fields": {"steps": 7, "negative": ""}}
    assert tell_empty(empty_fields(fields, full)) == ""


def test_links_out_of_a_folder(tmp_path):
    """What lies outside of a folder is not offered, however it is linked; its bytes are unread."""
    (tmp_path / "secret.txt").write_text("secret")
    models = tmp_path / "models"
    for name in ("good", "holds-a-link"):
        (models / name).mkdir(parents=True)
    (models / "link.safetensors").symlink_to(tmp_path / "secret.txt")
    (models / "holds-a-link" / "unet.safetensors").symlink_to(tmp_path / "secret.txt")
    (models / "inside").symlink_to(models / "good")
    (models / "circle").mkdir()
    (models / "circle" / "a").symlink_to("a")
    choices = make_choices(StudioOptions(model_dir=models), "toy")
    assert sorted(choices.models) == ["good", "inside"]
    assert [text.split()[0] for text in choices.left_out] == [
        *("circle", "holds-a-link", "link.safetensors"),
    ]
    assert choices.with_names(f"{models}/good: no model") == "good: no model"
    assert choices.with_names(f"{LORAS['demo']}: of sdxl") == "demo: of sdxl"
    loras = tmp_path / "loras"
    loras.mkdir()
    (loras / "x.safetensors").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UsageError, match=r"links that lead out of it alone: x\.safetensors"):
        make_choices(StudioOptions(lora_dir=loras), "toy")


def test_what_is_chosen():
    """Models and LoRAs are paths by their names; a scale that was emptied is 1, a seed 0."""
    values = {"model": "a", "prompt": "x", "seed": None, "loras": ["b", None, "none", 0.5, "b", -2]}
    assert begin_request(values, {"a": "/m/a"}, {"b": "/l/b"}) == {
        "model": "/m/a",
        "prompt": "x",
        "seed": 0,
        "lora": ["/l/b:1", "/l/b:-2"],
    }
    with pytest.raises(UsageError, match=r"no model is chosen; .* attn studio --model-dir DIR"):
        begin_request(values | {"model": None}, {"a": "/m/a"}, {})
    with pytest.raises(UsageError, match=r"seed: expected a whole number; got 1\.5"):
        begin_request(values | {"seed": 1.5}, {"a": "/m/a"}, {})
    with pytest.raises(UsageError, match="scale: expected a number; got 'x'"):
        begin_request(values | {"loras": ["b", "x"]}, {"a": "/m/a"}, {"b": "/l/b"})


@pytest.mark.parametrize(("name", "value"), [("size", "96"), ("size", "axb"), ("images", 2.5)])
def test_what_cannot_be_read(name, value):
    """A field that cannot be meant is an error that names it."""
    fields = capture_fields((*FIRST, *FURTHER), FACTS)
    values = {about.name: about.default for about in fields}
    with pytest.raises(UsageError, match=name):
        make_request(fields, values | {name: value})


def test_typed_shapes():
    """Shapes that are typed are drawn where they are said to be."""
    drawn = np.asarray(draw_shapes("box 25 25 75 75\n\nline 0 0 10 0").convert("L"))
    at = round(SIDE * 0.25)
    assert drawn.shape == (SIDE, SIDE)
    assert drawn[at + 2, SIDE // 2] == drawn[SIDE // 2, at + 2] == drawn[0, 9] == 0
    assert drawn[SIDE // 2, SIDE // 2] == 255


@pytest.mark.parametrize("line", ["star 1 2 3", "circle 1 2", "line 1 2 3 x", "circle nan 1 1"])
def test_shapes_that_are_none(line):
    """A line that is no shape is named."""
    with pytest.raises(UsageError, match=f"shapes: expected circle .*got '{line}'"):
        draw_shapes(line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-dir", "file"], "--model-dir file is a file: name a folder"),
        (["--model-dir", "none"], "--model-dir none does not exist: name a folder"),
        (["--model-dir", "empty"], "--model-dir empty holds no model"),
        (["--lora-dir", "empty"], "empty holds no LoRA"),
        (["-b", "sdx1"], "no backend 'sdx1'. Did you mean"),
        (["-o", "file"], "file is a file"),
    ],
)
def test_bad_options(options, message, tmp_path, monkeypatch):
    """What cannot be meant is said before anything is loaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(build(), ["studio", "--no-browser", *options])
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_without_gradio(monkeypatch):
    """Without the extra, one sentence says how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(build(), ["studio"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Error: attn studio needs Gradio: pip install 'attn[studio]'\n")
