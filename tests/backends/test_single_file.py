"""One model in every layout: a folder, a file, separate parts, and mixtures of them."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import attn
from attn import demo
from attn.backends import find, load
from attn.backends._probe import probe
from attn.backends._quiet import quiet
from attn.errors import ModelError, RequestError, UsageError
from attn.headers import read_header
from attn.schema import Request
from tests import layouts

MODELS = ("sd15", "sdxl", "sd35", "sd35:medium")
LAYOUTS = ("file", "bare file", "parts", "part folders", "mixture", "folder and parts")
SMALL = {"steps": 2, "width": 96, "height": 64}
COMPONENTS = {"vae": "vae", "clip_l": "text_encoder", "clip_g": "text_encoder_2"}
COMPONENTS |= {"unet": "unet", "dit": "transformer", "t5xxl": "text_encoder_3"}


@pytest.fixture(scope="module")
def toys(demo_cache):
    """Return a demo model as a pipeline; do not change it."""

    @cache
    def load_once(name):
        with quiet():
            return DiffusionPipeline.from_pretrained(demo.checkpoint(name), local_files_only=True)

    return load_once


@pytest.fixture(scope="module")
def saved(toys, tmp_path_factory):
    """Save a demo model in a layout, and return (backend, model, settings) that open it."""

    @cache
    def whole(name, prefix):
        write = layouts.sai if name.startswith("sd35") else layouts.ldm
        path = tmp_path_factory.mktemp("file") / "model.safetensors"
        return layouts.write(write(toys(name), prefix=prefix), path)

    @cache
    def parts(name):
        files = layouts.parts(toys(name), tmp_path_factory.mktemp("parts"))
        return {part: str(path) for part, path in files.items()}

    def save(name, layout):
        backend, folder = name.partition(":")[0], demo.checkpoint(name)
        denoiser = "dit" if backend == "sd35" else "unet"
        model, given = {
            "folder": lambda: (folder, {}),
            "file": lambda: (whole(name, True), {}),
            "bare file": lambda: (whole(name, False), {}),
            "parts": lambda: (None, parts(name)),
            "part folders": lambda: (
                None,
                {part: str(folder / COMPONENTS[part]) for part in parts(name)},
            ),
            "mixture": lambda: (
                None,
                parts(name) | {"vae": str(whole(name, True)), "clip_l": str(folder)},
            ),
            "folder and parts": lambda: (
                folder,
                {part: parts(name)[part] for part in (denoiser, "vae")},
            ),
        }[layout]()
        # the demo models are of no published size
        return backend, model, given if model == folder else given | {"config": str(folder)}

    return save


def opening(backend, model=None, *, weights=True, dtype="auto", **settings):
    """Open a model as `capture` does."""
    family = load(find(backend))
    options = family.Options(**settings)
    source = family.default_model(options) if model is None else model
    return family.open(source, options, device="cpu", dtype=dtype, weights=weights)


def refusal(backend, model=None, **settings):
    """Return what opening a model is refused with."""
    with pytest.raises(ModelError) as error:
        opening(backend, model, **settings)
    return str(error.value)


def picture(session, **request):
    """Generate one small picture without capture."""
    asked = session.complete(Request("a red cat", negative="dog", **SMALL, **request))
    return np.asarray(session.generate([asked], None)[0].images[0])


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
    found, wanted = left_by_capture(tmp_path / "out", *saved(name, layout)), expected(name)
    assert len(wanted[1]) == 2
    assert found[1].keys() == wanted[1].keys()
    assert [key for key in wanted[1] if found[1][key] != wanted[1][key]] == []
    assert found[0] == wanted[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_ready_to_run(saved, name, layout):
    """Every part is in eval mode, T5 too, and loading leaves everybody's random state alone."""
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
        halved = {key: one.half() for key, one in load_file(path).items()}
        save_file(halved, path, {"format": "pt"})
    state = (layouts.sai if name == "sd35" else layouts.ldm)(toys(name))
    halved = {key: one.half() if one.is_floating_point() else one for key, one in state.items()}
    file = layouts.write(halved, tmp_path / "model.safetensors")
    from_file = opening(name, file, dtype=dtype, config=str(folder))
    from_folder = opening(name, folder, dtype=dtype)
    for part, model in from_folder.pipe.components.items():
        for key, one in model.state_dict().items() if isinstance(model, nn.Module) else ():
            other = getattr(from_file.pipe, part).state_dict()[key]
            assert other.dtype == one.dtype, (part, key)
            assert torch.equal(other, one), (part, key)
    assert from_file.info.dtype == dtype


SCRIPT = """
import socket, sys, json
attempts = []
def refuse(*arguments, **keywords):
    attempts.append(repr(arguments[1:]))
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
from attn.backends import find, load
for backend, model, settings in json.loads(sys.stdin.read()):
    family = load(find(backend))
    options = family.Options(**settings)
    family.open(model or family.default_model(options), options, device="cpu")
print(json.dumps(attempts))
"""


@pytest.mark.slow
def test_no_network(saved, tmp_path):
    """In a process of its own, no layout of any family makes one attempt to open a socket."""
    cases = [saved(name, layout) for name in MODELS for layout in ("folder", *LAYOUTS)]
    asked = json.dumps([(backend, model and str(model), given) for backend, model, given in cases])
    hidden = ("proxy", "hf_", "transformers_", "huggingface")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not any(word in name.lower() for word in hidden)
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=asked,
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

    monkeypatch.setattr("attn.backends._checkpoint.safe_open", refuse)
    session = opening(backend, model, weights=False, **settings)
    request = session.complete(Request("a red cat", **SMALL))
    assert request == whole.complete(Request("a red cat", **SMALL))
    assert session.layers(request) == whole.layers(request)
    assert session.sequence(request, "cond") == whole.sequence(request, "cond")
    assert session.info.parameters == whole.info.parameters
    assert session.info.identity() == {}


def changed(path, target, change, metadata=None):
    """Write a changed copy of a checkpoint file."""
    state = load_file(path)
    change(state)
    return layouts.write(state, target / "changed.safetensors", metadata)


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


def test_strangers_in_a_file(saved, tmp_path):
    """What belongs to no part is left out with a warning that names it."""
    backend, path, settings = saved("sdxl", "file")
    more = {f"extra.{number}": torch.ones(2) for number in range(4)}
    other = changed(path, tmp_path, lambda state: state.update(more))
    assert opening(backend, other, **settings).warnings == [
        "changed.safetensors holds 4 tensors that belong to no part of the model; they are left "
        "out (extra.0, extra.1, extra.2 …)"
    ]


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


def test_part_as_model(saved):
    """A part alone is no model."""
    path = saved("sdxl", "parts")[2]["vae"]
    assert refusal("sdxl", path) == (
        f"{path}: this is a VAE of 4 latent channels, as SD1.x and SDXL have; it cannot draw "
        "alone; give a model as --model, and this beside it as vae"
    )


def test_missing_parts(saved):
    """What is missing is listed with the options that give it."""
    path = saved("sd35", "parts")[2]["dit"]
    assert refusal("sd35", path) == (
        f"{path} is not a whole model: dit found, vae, clip_l, clip_g missing; give what is "
        "missing, each a .safetensors file or a folder: --set vae=PATH --set clip_l=PATH "
        "--set clip_g=PATH"
    )


def test_no_denoiser():
    """Parts without the denoiser name no model."""
    with pytest.raises(UsageError) as error:
        opening("sd35", vae="a.safetensors", clip_l="b.safetensors")
    assert str(error.value) == (
        "vae, clip_l of which model? give it with --model, or its denoiser with --set dit=PATH"
    )
    family = load(find("sd35"))
    assert family.default_model(family.Options()) == "demo"


@pytest.mark.parametrize("option", ["unet", "vae", "clip_l", "clip_g"])
def test_pickled_part(tmp_path, option):
    """A pickled file is refused as a part too."""
    path = tmp_path / "part.CKPT"
    path.touch()
    assert refusal("sdxl", "demo", **{option: str(path)}).startswith(f"{path} is a pickled ")


def test_wrong_places(saved, tmp_path, demo_cache):
    """A path that does not lead to the part says so."""
    parts = saved("sdxl", "parts")[2]
    nowhere = tmp_path / "nowhere"
    assert refusal("sdxl", "demo", vae=str(nowhere)) == (
        f"vae={nowhere}: there is no such file or folder"
    )
    for option in ("config", "tokenizers"):
        assert refusal("sdxl", "demo", **{option: str(nowhere)}) == (
            f"{option}={nowhere}: there is no such folder"
        )
    assert refusal("sdxl", "demo", vae=parts["clip_g"]).endswith(
        "; it holds no vae that is known here"
    )
    assert refusal("sdxl", "demo", vae=str(tmp_path)) == (
        f"vae={tmp_path}: expected the folder of a part (with config.json), or of a whole model "
        "(with model_index.json)"
    )
    assert refusal("sdxl", "demo", vae=str(saved("sd15", "file")[1])).endswith(
        "; its VAE scales latents otherwise than sdxl does"
    )
    assert refusal("sdxl", "demo", unet=str(saved("sd15", "file")[1])).endswith(
        "; use --backend sd15"
    )


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_damaged_folder(copied, part):
    """Weights in a folder are looked into before a library opens them."""
    folder = copied("sdxl")
    (path,) = (folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    message = refusal("sdxl", folder)
    assert message.startswith(f"{path}: the file is cut short: ")


def test_loaded_pipeline(toys):
    """A pipeline that is loaded already takes no other parts."""
    assert refusal("sdxl", toys("sdxl"), vae="vae.safetensors", config="x") == (
        "this pipeline is loaded already; take away the options vae, config"
    )


def without_t5(folder):
    """Take T5 out of a diffusers folder."""
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    path.write_text(json.dumps(index))
    return folder


def test_without_t5(saved, copied):
    """Without T5 its positions are zero, said so, and the same from every layout."""
    folder = opening("sd35", without_t5(copied("sd35")))
    _, _, settings = saved("sd35", "parts")
    settings = {name: value for name, value in settings.items() if name != "t5xxl"}
    parts = opening("sd35", **settings)
    assert (
        parts.warnings
        == folder.warnings
        == ["there is no T5 text encoder: its 256 positions are zero; --set t5xxl=PATH gives it"]
    )
    assert np.array_equal(picture(parts), picture(folder))
    request = parts.complete(Request("a red cat", **SMALL))
    assert parts.sequence(request, "cond") == folder.sequence(request, "cond")
    assert opening("sd35", weights=False, **settings).warnings == parts.warnings


def test_t5_for_a_folder_without(saved, copied, opened):
    """T5 from a file completes a folder that has none; its tokenizer is found where it is."""
    folder = without_t5(copied("sd35"))
    t5 = saved("sd35", "parts")[2]["t5xxl"]
    settings = {"t5xxl": t5, "config": str(demo.checkpoint("sd35"))}
    assert np.array_equal(picture(opening("sd35", folder, **settings)), picture(opened("sd35")))


@pytest.fixture
def bare(saved, tmp_path):
    """Copy a file and its configuration, without tokenizers, to places of their own."""

    def copy(name):
        _, path, settings = saved(name, "file")
        ignored = shutil.ignore_patterns("*.safetensors", "tokenizer*")
        config = shutil.copytree(settings["config"], tmp_path / "config", ignore=ignored)
        (tmp_path / "models").mkdir()
        return shutil.copy(path, tmp_path / "models"), {"config": str(config)}

    return copy


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """Let the hub's cache be an empty folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def copy_tokenizers(name, target):
    """Copy the tokenizers of a demo model."""
    for folder in demo.checkpoint(name).glob("tokenizer*"):
        shutil.copytree(folder, target / folder.name)
    return target


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd35"])
def test_tokenizers_of_the_user(bare, no_cache, tmp_path, opened, name):
    """Tokenizers are taken from `tokenizers=`, or lie beside the model's file."""
    path, settings = bare(name)
    given = copy_tokenizers(name, tmp_path / "given")
    session = opening(name, path, tokenizers=str(given), **settings)
    expected = picture(opened(name))
    assert np.array_equal(picture(session), expected)
    copy_tokenizers(name, tmp_path / "models")
    assert np.array_equal(picture(opening(name, path, **settings)), expected)


def cached(cache, repository, **folders):
    """Put folders into the hub's cache as a repository; `root` is the repository itself."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0a1b2c")
    for name, folder in folders.items():
        inner = place / "snapshots" / "0a1b2c" / ("" if name == "root" else name)
        shutil.copytree(folder, inner, dirs_exist_ok=True)


def test_cached_tokenizers(bare, no_cache, opened, offline):
    """Tokenizers of well-known repositories are found in the hub's cache, without the network."""
    path, settings = bare("sdxl")
    own = demo.checkpoint("sdxl")
    cached(
        no_cache,
        "stabilityai/stable-diffusion-xl-base-1.0",
        tokenizer=own / "tokenizer",
        tokenizer_2=own / "tokenizer_2",
    )
    assert np.array_equal(picture(opening("sdxl", path, **settings)), picture(opened("sdxl")))


def test_one_vocabulary(bare, no_cache, opened, offline):
    """CLIP-L's own tokenizer serves CLIP-G too, padded as CLIP-G is."""
    path, settings = bare("sdxl")
    cached(no_cache, "openai/clip-vit-large-patch14", root=demo.checkpoint("sdxl") / "tokenizer")
    session = opening("sdxl", path, **settings)
    assert np.array_equal(picture(session), picture(opened("sdxl")))


def test_length_of_a_bare_vocabulary(bare, no_cache, tmp_path, opened):
    """A vocabulary without its settings is read as the 77 positions of CLIP."""
    path, settings = bare("sd15")
    given = copy_tokenizers("sd15", tmp_path / "given")
    (given / "tokenizer" / "tokenizer_config.json").unlink()
    session = opening("sd15", path, tokenizers=str(given), **settings)
    assert session.pipe.tokenizer.model_max_length == 77
    assert np.array_equal(picture(session), picture(opened("sd15")))


def test_no_tokenizers(bare, no_cache, offline):
    """Where no tokenizers are found, it is said what to download and where to put it."""
    path, settings = bare("sdxl")
    folder = Path(path).parent
    assert refusal("sdxl", path, **settings) == (
        "checkpoint files hold no tokenizers; tokenizer and tokenizer_2 are neither in "
        f"{settings['config']}, {folder} nor in the hub's cache. Download the folders tokenizer, "
        "tokenizer_2 of https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0 (a few "
        "MB: tokenizer_config.json, special_tokens_map.json, vocab.json and merges.txt of CLIP, "
        f"tokenizer.json of T5) into {folder}, or point --set tokenizers=DIR at the folder that "
        "holds them: hf download stabilityai/stable-diffusion-xl-base-1.0 --include "
        f"'tokenizer/*' 'tokenizer_2/*' --local-dir {folder}"
    )


V = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def sampling(session, scheduler=None):
    """Return what a session's sampler is set to, as far as prediction is concerned."""
    request = session.complete(Request("a cat", **SMALL, scheduler=scheduler))
    with session._scheduled(request):
        return {name: session.pipe.scheduler.config.get(name) for name in V}


def mark(name):
    """Return a change that adds an empty tensor as a marker."""
    return lambda state: state.update({name: torch.zeros(0)})


def both(state):
    """Mark a file as v-prediction with zero-terminal SNR."""
    mark("v_pred")(state)
    mark("ztsnr")(state)


@pytest.mark.parametrize("scheduler", [None, "ddim", "eulerancestral", "dpmsolvermultistep"])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_v_prediction_by_option(saved, name, scheduler):
    """`prediction=v` sets all that belongs to it, and holds in every sampler that can do it."""
    backend, path, settings = saved(name, "file")
    session = opening(backend, path, prediction="v", **settings)
    assert sampling(session, scheduler) == V


def test_v_prediction_of_a_folder(copied, saved):
    """A folder's scheduler is taken as it is; the option wins over it; a file's mark as well."""
    folder = copied("sdxl")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | V))
    session = opening("sdxl", folder)
    assert (sampling(session), session.warnings) == (V, [])
    asked = sampling(opening("sdxl", folder, prediction="epsilon"))
    assert (asked["prediction_type"], asked["rescale_betas_zero_snr"]) == ("epsilon", False)
    assert sampling(opening("sdxl", demo.checkpoint("sdxl"), prediction="v")) == V
    from_config = opening("sdxl", saved("sdxl", "file")[1], config=str(folder))
    assert (sampling(from_config), from_config.warnings) == (V, [])


def test_v_prediction_of_a_loaded_pipeline(toys):
    """A loaded pipeline is sampled as asked, and has its own scheduler back afterwards."""
    pipe = toys("sdxl")
    own = pipe.scheduler
    session = opening("sdxl", pipe, prediction="v")
    assert sampling(session) == V
    assert picture(session).shape == (64, 96, 3)
    assert pipe.scheduler is own


@pytest.mark.parametrize(
    ("change", "metadata", "expected"),
    [
        (both, None, V),
        (mark("v_pred"), None, {"prediction_type": "v_prediction", "timestep_spacing": "leading"}),
        (
            lambda state: None,
            {"modelspec.prediction_type": "v"},
            {"prediction_type": "v_prediction"},
        ),
        (
            lambda state: None,
            {"modelspec.prediction_type": "epsilon"},
            {"prediction_type": "epsilon"},
        ),
    ],
)
def test_what_a_file_says(saved, tmp_path, change, metadata, expected):
    """`auto` believes the marks and metadata of a file."""
    backend, path, settings = saved("sdxl", "file")
    other = changed(path, tmp_path, change, metadata)
    session = opening(backend, other, **settings)
    assert sampling(session).items() >= expected.items()
    assert session.warnings == []


def test_file_that_does_not_say(saved):
    """Where a file says nothing, epsilon is assumed, and that is said with the option."""
    path = saved("sdxl", "parts")[2]["unet"]
    session = opening("sdxl", "demo", unet=path)
    assert sampling(session)["prediction_type"] == "epsilon"
    assert session.warnings == [
        "the file does not say what its UNet predicts; epsilon is assumed. If the picture is "
        "nothing but noise, set prediction to the other of epsilon and v"
    ]


def test_schedulers_without_zero_snr(saved):
    """A sampler that cannot begin with pure noise is refused by name; as default it gives way."""
    backend, path, settings = saved("sd15", "file")
    session = opening(backend, path, prediction="v", **settings)
    assert session.warnings == [
        "PNDMScheduler cannot begin with pure noise (zero-terminal SNR); DDIMScheduler is used "
        "unless --scheduler names another"
    ]
    for name in ("pndm", "heun"):
        with pytest.raises(RequestError) as error:
            sampling(session, name)
        assert str(error.value) == (
            f"scheduler '{name}' cannot begin with pure noise (zero-terminal SNR), which this "
            "model was trained to; those that can are ddim, ddpm, dpmsolvermultistep, euler, "
            "eulerancestral, unipcmultistep"
        )
    assert type(opening(backend, path, **settings).pipe.scheduler).__name__ == "PNDMScheduler"


def test_fingerprint(saved):
    """Every file that is used is hashed under a name that does not tell where it lies."""
    backend, path, settings = saved("sd35", "mixture")
    found = opening(backend, path, **settings).info.identity()
    hashed = found["files"]
    assert found.keys() == {"sha256", "files"}
    assert {"dit.safetensors", "clip_g/clip_g.safetensors", "vae/model.safetensors"} < set(hashed)
    assert {"text_encoder/model.safetensors", "tokenizer_3/tokenizer.json"} < set(hashed)
    assert {"config/model_index.json", "config/transformer/config.json"} < set(hashed)
    one = Path(settings["dit"]).read_bytes()
    assert hashed["dit.safetensors"] == hashlib.sha256(one).hexdigest()
    lines = "".join(f"{hashed[name]}  {name}\n" for name in sorted(hashed))
    assert found["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    alone = opening(*saved("sdxl", "file")[:2], **saved("sdxl", "file")[2]).info.identity()
    assert "model.safetensors" in alone["files"]
