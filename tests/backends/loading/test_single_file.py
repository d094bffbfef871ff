"""One model in every layout: the same picture and trace, or the reason why not."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import attn
from attn import demo
from attn.checkpoints.headers import read_header
from attn.checkpoints.probe import probe
from attn.schema import Request
from tests.helpers.models import layouts
from tests.helpers.models.opening import LAYOUTS, MODELS, SMALL, changed, opening, picture, refusal


def left_by_capture(out, backend, model, settings, **arguments):
    """Capture, and return picture and shards as bytes."""
    attn.capture(
        backend,
        "a red cat",
        model=model,
        settings=settings,
        steps=2,
        size=(96, 64),
        negative="dog",
        device="cpu",
        out=out,
        **arguments,
    )
    shards = {path.name: path.read_bytes() for path in (out / "attention").iterdir()}
    shards.pop("shards.jsonl", None)
    return Image.open(out / "outputs" / "image.png").tobytes(), shards


@pytest.fixture(scope="module")
def expected(saved, tmp_path_factory):
    """Return what a capture from the model's diffusers folder leaves."""

    @cache
    def from_folder(name):
        out = tmp_path_factory.mktemp("expected") / "out"
        return left_by_capture(out, *saved(name, "folder"))

    return from_folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_same_from_every_layout(saved, expected, tmp_path, name, layout):
    """Picture and trace are bit for bit those that the diffusers folder gives."""
    result, wanted = left_by_capture(tmp_path / "out", *saved(name, layout)), expected(name)
    assert len(wanted[1]) == 3  # two steps, and their mean
    assert result[1].keys() == wanted[1].keys()
    assert [key for key in wanted[1] if result[1][key] != wanted[1][key]] == []
    assert result[0] == wanted[0]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_ready_to_run(saved, name, layout):
    """Every part is in eval mode, T5 too; loading leaves random states and the network alone."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    session = opening(*saved(name, layout)[:2], **saved(name, layout)[2])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    modules = [part for part in session.pipe.components.values() if isinstance(part, nn.Module)]
    assert len(modules) == {"sd15": 3, "sdxl": 4}.get(name, 5)
    assert not any(module.training for part in modules for module in part.modules())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sd15", "sdxl", "sd35"])
def test_offload(saved, expected, tmp_path, backend):
    """Parts of a file can wait in main memory; nothing else changes."""
    assert left_by_capture(tmp_path / "out", *saved(backend, "file"), offload="model") == expected(
        backend
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sdxl", "sd35"])
def test_half_precision_files(toys, tmp_path, name, dtype):
    """A float16 file gives the weights that a float16 folder gives, in every dtype."""
    folder = tmp_path / "folder"
    shutil.copytree(demo.checkpoint(name), folder)
    for path in folder.rglob("*.safetensors"):
        halved = {key: item.half() for key, item in load_file(path).items()}
        save_file(halved, path, {"format": "pt"})
    state = (layouts.sai if name == "sd35" else layouts.ldm)(toys(name))
    halved = {key: item.half() if item.is_floating_point() else item for key, item in state.items()}
    file = layouts.write(halved, tmp_path / "model.safetensors")
    from_file = opening(name, file, dtype=dtype, config=str(folder))
    from_folder = opening(name, folder, dtype=dtype)
    for part, model in from_folder.pipe.components.items():
        for key, item in model.state_dict().items() if isinstance(model, nn.Module) else ():
            other = getattr(from_file.pipe, part).state_dict()[key]
            assert other.dtype == item.dtype, (part, key)
            assert torch.equal(other, item), (part, key)
    assert from_file.info.dtype == dtype


SCRIPT = """
import socket, sys, json
attempts = []
def refuse(*arguments, **keywords):
    attempts.append(repr(arguments[1:]))
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
from attn.backends import Placement, find, load
for backend, model, settings in json.loads(sys.stdin.read()):
    family = load(find(backend))
    options = family.Options(**settings)
    family.open(model or family.default_model(options), options, Placement("cpu"))
print(json.dumps(attempts))
"""


@pytest.mark.slow
def test_no_network(saved, tmp_path):
    """In a process of its own, with its imports, no model makes an attempt to open a socket."""
    cases = [saved(name, layout) for name in MODELS for layout in ("folder", "mixture")]
    requested = json.dumps(
        [(backend, model and str(model), given) for backend, model, given in cases]
    )
    hidden = ("proxy", "hf_", "transformers_", "huggingface")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not any(word in name.lower() for word in hidden)
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=requested,
        capture_output=True,
        text=True,
        env=environment | {"HF_HOME": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("layout", ["file", "parts"])
@pytest.mark.parametrize("name", MODELS)
def test_without_weights(saved, opened, monkeypatch, name, layout):
    """To plan, headers and configurations are enough."""
    backend, model, settings = saved(name, layout)
    whole = opened(backend, name.replace(backend, "demo"))

    def refuse(*arguments, **keywords):
        raise AssertionError("weights are read")

    monkeypatch.setattr("attn.backends.loading.weights.checkpoint.safe_open", refuse)
    session = opening(backend, model, weights=False, **settings)
    request = session.complete(Request("a red cat", **SMALL))
    assert request == whole.complete(Request("a red cat", **SMALL))
    assert session.layers(request) == whole.layers(request)
    assert session.sequence(request, "cond") == whole.sequence(request, "cond")
    assert session.info.parameters == whole.info.parameters
    assert session.info.identity() == {}


def test_averages_of_training(saved, tmp_path):
    """Averaged twins and tables of training are left alone; the weights are those that ran."""
    backend, path, settings = saved("sd15", "file")

    def add(state):
        for key in [key for key in state if key.startswith("model.diffusion_model.")]:
            twin = "model_ema." + key.removeprefix("model.").replace(".", "")
            state[twin] = torch.zeros_like(state[key])
        state |= {"betas": torch.ones(7), "model_ema.decay": torch.ones(())}
        state |= {"cond_stage_model.logit_scale": torch.ones(()), "global_step": torch.ones(1)}

    session = opening(backend, changed(path, tmp_path, add), **settings)
    plain = opening(backend, path, **settings)
    assert session.warnings == plain.warnings
    assert np.array_equal(picture(session), picture(plain))


@pytest.mark.parametrize(
    ("count", "named"), [(1, "extra.0"), (4, "extra.0, extra.1, extra.2 and 1 more")]
)
def test_strangers_in_a_file(saved, tmp_path, count, named):
    """What belongs to no part is left out with a warning that names it."""
    backend, path, settings = saved("sdxl", "file")
    more = {f"extra.{number}": torch.ones(2) for number in range(count)}
    other = changed(path, tmp_path, lambda state: state.update(more))
    assert opening(backend, other, **settings).warnings == (
        f"changed.safetensors: what belongs to no part of the model is left out: {named}",
    )


UP = "model.diffusion_model.output_blocks.0.0."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop(f"{UP}in_layers.0.bias"),
            "1 missing (up_blocks.0.resnets.0.norm1.bias …)",
        ),
        (
            lambda state: state.update({f"{UP}gate.bias": torch.ones(2)}),
            "1 unexpected (output_blocks.0.0.gate.bias …)",
        ),
        (
            lambda state: state.update({f"{UP}in_layers.0.bias": torch.ones(2)}),
            "1 of another shape (up_blocks.0.resnets.0.norm1.bias: [2], expected [144] …)",
        ),
    ],
)
@pytest.mark.parametrize("weights", [True, False])
def test_misfit(saved, tmp_path, change, message, weights):
    """A weight that is missing, unexpected or misshapen is named, also without reading weights."""
    backend, path, settings = saved("sdxl", "file")
    other = changed(path, tmp_path, change)
    title = probe(read_header(other)).title
    assert refusal(backend, other, weights=weights, **settings) == (
        f"{other}: this is {title}; its part unet does not fit UNet2DConditionModel as "
        f"{settings['config']}/unet has it: {message}"
    )


def test_unpublished_size(saved):
    """Without a configuration, a model of a size of its own is refused with what to do."""
    message = refusal("sdxl", saved("sdxl", "file")[1])
    assert "its part unet does not fit the published UNet2DConditionModel (sdxl): " in message
    assert message.endswith(
        ". A model of another size is described by --set config=DIR, a diffusers folder with its "
        "configurations"
    )


@pytest.mark.parametrize(
    ("backend", "name"), [("sdxl", "sd15"), ("sd35", "sdxl"), ("sd15", "sd35")]
)
def test_another_family(saved, backend, name):
    """A file of another family is refused with the backend that takes it."""
    path = saved(name, "file")[1]
    title = probe(read_header(path)).title
    assert refusal(backend, path) == f"{path}: this is {title}; use --backend {name}"


def test_fingerprint(saved):
    """Every file that is used is hashed under a name that does not tell where it lies."""
    backend, path, settings = saved("sd35", "mixture")
    result = opening(backend, path, **settings).info.identity()
    hashed = result["files"]
    assert result.keys() == {"sha256", "files"}
    assert {"model", "clip_g", "vae"} < set(hashed)
    assert {"text_encoder/model.safetensors", "tokenizer_3/tokenizer.json"} < set(hashed)
    assert {"config/model_index.json", "config/transformer/config.json"} < set(hashed)
    item = Path(settings["dit"]).read_bytes()
    assert hashed["model"] == hashlib.sha256(item).hexdigest()
    lines = "".join(f"{hashed[name]}  {name}\n" for name in sorted(hashed))
    assert result["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    alone = opening(*saved("sdxl", "file")[:2], **saved("sdxl", "file")[2]).info.identity()
    assert "model" in alone["files"]
