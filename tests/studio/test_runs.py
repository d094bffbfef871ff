"""The families that ship in the model's process: the same as the command, and what is refused."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner

from attn.backends import find
from attn.cli import build
from attn.studio.drawing import draw_shapes, pad_file
from attn.studio.form import FIRST, FURTHER, capture_fields, make_request
from attn.studio.options import StudioOptions
from attn.studio.studio import Studio
from attn.studio.worker.families import describe_family
from tests.helpers.models.shipped_weights import shipped_weights

STRANGER = "transformer.transformer_blocks.0.attn.to_q"
"""A module that a flux model has, and a drawing's has not."""


@pytest.fixture(scope="module")
def studio(demo_cache, tmp_path_factory):
    """Return what pages share, with a folder of models and one of LoRAs that fit nothing."""
    root = tmp_path_factory.mktemp("studio")
    (root / "models" / "holidays").mkdir(parents=True)
    (root / "loras").mkdir()
    halves = {"lora_A": np.ones((3, 7)), "lora_B": np.ones((7, 3))}
    tensors = {f"{STRANGER}.{half}.weight": item for half, item in halves.items()}
    save_file(
        {n: item.astype(np.float32) for n, item in tensors.items()}, root / "loras/f.safetensors"
    )
    folders = {"model_dir": root / "models", "lora_dir": root / "loras"}
    studio = Studio(StudioOptions(backend="scribble", out=root / "runs", **folders))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def request_of(studio):
    """Return a request of the form of the first family, with other values in some fields."""
    facts = studio.families[0]
    fields = capture_fields((*FIRST, *FURTHER), facts)
    values = {about.name: about.default for about in fields}
    base = {"backend": "scribble", "model": "demo", "prompt": facts["prompt"], "seed": 7}

    def make(changes, **request):
        return base | request | make_request(fields, values | changes)

    return make


def drawn(text):
    """Return the file of typed shapes."""
    return pad_file({"composite": draw_shapes(text)})


def shards(folder):
    manifest = json.loads((Path(folder) / "trace.json").read_text())
    return [(shard["file"], shard["sha256"]) for shard in manifest["shards"]]


def outputs(folder):
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("outputs/*.png"))]


def test_same_as_the_command(studio, request_of, tmp_path):
    """Picture and checksums of a drawn run are the shown command's; figures have their names."""
    sketch = drawn("box 20 20 70 80")
    request = request_of({"steps": 2, "size": "64x64"}, model="demo:tokens", sketch=sketch)
    run = studio.jobs.submit(request, is_analyzed=True)
    *_, last = studio.jobs.follow(run)
    assert (last.status, last.error, last.frames) == ("complete", "", 2)
    figures = {path.name for path in last.files}
    assert figures >= {"attention_evolution.gif", "text_vs_sketch_attention.png"}
    listed = json.loads(studio.library.index())["items"]
    assert [(item["label"], item["prompt"]) for item in listed] == [
        (run.folder.name, request["prompt"])
    ]
    program, *words = shlex.split(studio.command(run))
    words += ["--out", str(tmp_path / "same")]
    with shipped_weights():  # as the process of the studio's models has them
        done = CliRunner().invoke(build(), words)
    assert (program, done.exit_code) == ("attn", 0)
    assert shards(run.folder) == shards(tmp_path / "same")
    assert outputs(run.folder) == outputs(tmp_path / "same")
    assert [name for name, _ in outputs(run.folder)] == ["image.png", "sketch.png"]


REFUSED = {
    "steps": ({"steps": 0}, "steps must be at least 1; got 0"),
    "guidance": ({"guidance": float("nan")}, "guidance must be a number; got nan"),
    "size": ({"size": "100x100"}, "must be divisible by 8; the nearest is 96x96"),
    "device": ({"device": "cpu,cpu"}, "device: a run of the studio has one; got 'cpu,cpu'"),
    "sketch": ({}, "is empty: its 53x41 pixels are alike; expected strokes"),
    "lora": ({}, "this LoRA is for Stable Diffusion 3.x ('sd35')"),
    "model": ({}, "holidays is not a diffusers folder: it has no model_index.json"),
    "prompt": ({}, "no sketch for 'a cat'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, studio, request_of, tmp_path):
    """What cannot run is said before the run, in the words of the command line."""
    Image.new("RGB", (53, 41), "red").save(tmp_path / "red.png")
    requested = {
        "sketch": {"sketch": str(tmp_path / "red.png")},
        "lora": {"lora": [studio.choices.loras["f.safetensors"]]},
        "model": {"model": studio.choices.models["holidays"]},
        "prompt": {"prompt": "a cat"},
    }
    changes, said = REFUSED[name]
    (told,) = studio.plan(request_of(changes, **requested.get(name, {})))
    assert told.startswith("This cannot run: ")
    assert said in told


LARGE = {"steps": 100, "size": "4096x4096", "images": 4000, "keep": "heads", "budget": "9999TB"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"budget": "1kB"}, "1.9 MB, more than the budget of 1.0 kB"), (LARGE, "are free at")],
)
def test_too_large(changes, said, studio, request_of):
    """What does not fit is told with the plan, of the folder of the runs, and does not begin."""
    request = request_of(changes)
    (told,) = studio.plan(request)
    run = studio.jobs.submit(request, is_analyzed=True)
    *_, last = studio.jobs.follow(run)
    assert last.status == "failed"
    assert not last.folder.exists()
    assert said in last.error
    assert said in told
    assert "attn-runs" not in told


@pytest.mark.parametrize("value", [None, {"composite": None}, {"composite": draw_shapes("")}])
def test_empty_pad(value):
    """A pad that was never drawn on, or was cleared, holds no drawing."""
    assert pad_file(value) is None


@pytest.mark.parametrize(
    ("box", "size"), [((0, 50, 384, 334), (384, 284)), ((30, 40, 90, 80), (384, 384))]
)
def test_bars_beside_a_picture(box, size):
    """Bars beside a picture are no part of it; strokes on a transparent ground stay in place."""
    held = Image.new("RGBA", (384, 384))
    held.paste("red", box)
    with Image.open(pad_file({"composite": held})) as kept:
        assert kept.size == size


@pytest.mark.parametrize(
    ("backend", "model", "said"),
    [
        ("sd35", "demo", ("demo", "demo:medium")),
        ("hf", "demo", ()),
        ("sd15", "none-such", "no model at 'none-such'"),
    ],
)
def test_models_of_a_family(backend, model, said):
    """Demos are offered where there are some; a model that was named and is none ends the start."""
    facts = describe_family(find(backend), model)
    assert said in facts["error"] if facts["error"] else facts["demos"] == [*said]
