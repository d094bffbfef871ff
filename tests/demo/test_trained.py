"""Trained demo models: from small weight files to real diffusers folders."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file, save_model

import attn
from attn import demo
from attn.backends import find, load
from attn.demo import judge, scenes, shipped, trained
from tests.helpers.models import layouts

NAMES = tuple(trained.PIPELINES)
OWN = {"scribble": "controlnet", "sd35-medium": "transformer", "gated": "transformer"}
"""The only component that a model does not share with the one that it goes on from."""


def owner(name: str, component: str) -> str:
    """The model in whose folder a component lies."""
    if component == "vae":
        return "sdxl"
    return name if OWN.get(name, component) == component else shipped.BASES[name]


def models(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {
        name: component
        for name, component in pipeline.components.items()
        if isinstance(component, torch.nn.Module)
    }


def assert_same_weights(pipeline: Any, expected: dict[str, torch.nn.Module]) -> None:
    assert models(pipeline).keys() == expected.keys()
    for name, model in expected.items():
        states = getattr(pipeline, name).state_dict(), model.state_dict()
        assert states[0].keys() == states[1].keys()
        for key in states[0]:
            assert torch.equal(states[0][key], states[1][key].float()), f"{name}: {key}"


@pytest.fixture(scope="module")
def original() -> Callable[[str], Any]:
    """Random weights in the precision that ships."""

    @cache
    def build(name: str) -> Any:
        torch.manual_seed(7)
        pipeline: Any = trained.PIPELINES[name]()
        for model in models(pipeline).values():
            model.half()
        return pipeline

    return build


@pytest.fixture(scope="module")
def weights(original: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of all models in the form that ships, each component only once."""
    folder = tmp_path_factory.mktemp("weights")
    for name in NAMES:
        (folder / name).mkdir()
        for component, model in models(original(name)).items():
            if owner(name, component) == name:
                save_model(model, str(folder / name / f"{component}.safetensors"))
    return folder


@pytest.fixture(scope="module")
def folder(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Assemble a model from its weights, once."""

    @cache
    def assemble(name: str) -> Path:
        path = tmp_path_factory.mktemp("model") / name
        trained.save(name, path, weights=weights / name)
        return path

    return assemble


@pytest.fixture(scope="module")
def opened(folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """Open an assembled model as a user opens it."""

    @cache
    def open_once(name: str) -> Any:
        pipeline = DiffusionPipeline.from_pretrained(folder(name), local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return open_once


@pytest.mark.parametrize("name", NAMES)
def test_weights_arrive(
    name: str, opened: Callable[[str], Any], original: Callable[[str], Any]
) -> None:
    """The folder holds the shipped weights in float32; what is shared lies beside another model."""
    expected = {
        component: getattr(original(owner(name, component)), component)
        for component in models(original(name))
    }
    assert_same_weights(opened(name), expected)


@pytest.mark.parametrize("name", ["sd35-medium", "gated"])
def test_some_weights_lie_elsewhere(
    name: str, original: Callable[[str], Any], weights: Path, tmp_path: Path
) -> None:
    """Of a component that differs in a few weights only those ship; the rest is the base's."""
    full, base = (original(item).transformer.state_dict() for item in (name, "sd35"))
    new = {
        key: tensor
        for key, tensor in full.items()
        if key not in base or base[key].shape != tensor.shape
    } or {"proj_out.bias": full["proj_out.bias"] + 1}
    shutil.copytree(weights, tmp_path / "weights")
    save_file(new, tmp_path / "weights" / name / "transformer.safetensors")
    trained.save(name, tmp_path / "model", weights=tmp_path / "weights" / name)
    result = DiffusionPipeline.from_pretrained(tmp_path / "model").transformer.state_dict()
    assert result.keys() == full.keys()
    for key, tensor in result.items():
        assert torch.equal(tensor, new.get(key, base.get(key)).float()), key


def test_weights_are_small() -> None:
    """The package stays small: these models may have 26 of its 27 MB."""
    packed = Path(shipped.__file__).with_name("weights")
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.iterdir())
        for folder in packed.iterdir()
    }
    assert sum(sizes.values()) < 26e6
    assert sizes["sd35-medium"] < 1.5e6
    assert sizes["gated"] < 0.5e6


def test_medium_and_gated_are_the_large_model_and_more() -> None:
    """What is seen in one and not in the other comes of what it has more, and of nothing else."""
    packed = Path(shipped.__file__).with_name("weights")
    own = {
        name: load_file(packed / name / "transformer.safetensors").keys()
        for name in ("sd35-medium", "gated")
    }
    assert all(re.search(r"\.[01]\.(attn2|norm1)\.", key) for key in own["sd35-medium"])
    assert all(re.search(r"attn\.to_(add_)?out", key) for key in own["gated"])


def test_sdxl_schedule_is_that_of_training(opened: Callable[[str], Any]) -> None:
    """Generation starts from pure noise and reads velocities, as the weights were trained."""
    scheduler = opened("sdxl").scheduler
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.rescale_betas_zero_snr
    assert scheduler.config.timestep_spacing == "trailing"
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]


def test_sd35_schedule_is_the_published_one(opened: Callable[[str], Any]) -> None:
    """Flow from pure noise, with most steps at high noise."""
    scheduler = opened("sd35").scheduler
    assert (scheduler.config.shift, scheduler.config.use_dynamic_shifting) == (3.0, False)
    scheduler.set_timesteps(5)
    assert scheduler.sigmas[0] == 1
    assert scheduler.sigmas[2] > 0.7


def test_only_medium_has_a_second_attention(opened: Callable[[str], Any]) -> None:
    """The two differ as Large and Medium do: dual attention in the first half of the blocks."""
    dual = {
        name: [block.attn2 is not None for block in opened(name).transformer.transformer_blocks]
        for name in ("sd35", "sd35-medium")
    }
    assert dual == {"sd35": [False] * 4, "sd35-medium": [True, True, False, False]}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "scribble"])
def test_it_generates_at_its_own_size(name: str, opened: Callable[[str], Any]) -> None:
    """Without a size a picture has 128 x 128 pixels, as in training."""
    picture = opened(name)("a red star", num_inference_steps=1).images[0]
    assert picture.size == (128, 128)


def test_assembling_leaves_the_random_state_alone(weights: Path, tmp_path: Path) -> None:
    """A seed that the caller has set must mean the same before and after."""
    before = torch.get_rng_state()
    trained.save("sd35", tmp_path, weights=weights / "sd35")
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """An incomplete package says which file is missing."""
    with pytest.raises(FileNotFoundError, match=r"text_encoder\.safetensors|vae\.safetensors"):
        trained.save("sdxl", tmp_path / "model", weights=tmp_path)


@pytest.mark.parametrize("name", ["sdxl", "sd35", "sd35-medium", "gated"])
def test_one_file_is_the_same_model(
    name: str, folder: Callable[[str], Path], opened: Callable[[str], Any], tmp_path: Path
) -> None:
    """Written as one file in its authors' layout, a demo model is opened with the same weights."""
    flatten = layouts.ldm if name == "sdxl" else layouts.sai
    path = layouts.write(flatten(opened(name)), tmp_path / "model.safetensors")
    backend = load(find(name.partition("-")[0]))
    session: Any = backend.open(path, backend.Options(config=str(folder(name))))
    assert_same_weights(session.pipe, models(opened(name)))


@pytest.fixture
def shelf(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a package in which the weights ship."""
    monkeypatch.setattr(shipped, "WEIGHTS", weights)
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("shelf")
def test_the_demo_is_the_trained_model(original: Callable[[str], Any]) -> None:
    """Once weights ship, the name alone gives the trained model, in a folder of these weights."""
    folder = demo.checkpoint("sdxl")
    assert folder.name == f"sdxl-{shipped.digest(shipped.WEIGHTS / 'sdxl')}"
    assert_same_weights(DiffusionPipeline.from_pretrained(folder), models(original("sdxl")))
    assert demo.checkpoint("sdxl") == folder


@pytest.mark.usefixtures("shelf")
def test_models_with_random_weights_stay_reachable(tmp_path: Path) -> None:
    """Tests of structure, and families without trained weights, still have the tiny models."""
    demo.build("tiny:sdxl", tmp_path / "model")
    assert (tmp_path / "model" / "unet").is_dir()
    unet = DiffusionPipeline.from_pretrained(tmp_path / "model").unet
    assert unet.config.block_out_channels == [16, 32, 72]
    assert not demo.is_trained("sd15")
    trained_ones = {name for name in demo.NAMES if demo.is_trained(name)}
    assert trained_ones == {
        *("sdxl", "sd35", "sd35:medium", "gated", "scribble", "scribble:tokens"),
    }


@pytest.mark.usefixtures("shelf")
def test_the_example_prompt_suits_the_model() -> None:
    """A model that knows only shapes is not asked for a cat."""
    prompts = [demo.example_prompt(name) for name in ("sdxl", "tiny:sdxl", "sd15")]
    assert prompts == [demo.EXAMPLE_CAPTION, demo.EXAMPLE_PROMPT, demo.EXAMPLE_PROMPT]


@pytest.mark.parametrize(
    ("name", "source"), [("sd35", "demo"), ("sd35", "demo:medium"), ("gated", "demo")]
)
def test_demos_of_sd35_draw_with_little_guidance(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variant that ships has the default with which it draws best."""
    monkeypatch.setattr(shipped, "WEIGHTS", Path(shipped.__file__).with_name("weights"))
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path))
    backend = load(find(name))
    session: Any = backend.open(source, backend.Options())
    assert session.default_guidance == 3.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source"), [("sd35", "demo"), ("sd35", "demo:medium"), ("gated", "demo")]
)
def test_demos_of_sd35_draw_what_they_are_asked_for(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights that ship know colours, shapes and relations, put together as users get them."""
    monkeypatch.setattr(shipped, "WEIGHTS", Path(shipped.__file__).with_name("weights"))
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    prompt = "a blue star left of a red triangle on a white background"
    done = attn.capture(name, prompt, model=source, seed=2, out=tmp_path / "run")
    with Image.open(done.trace.image()) as image:
        result = judge.find(np.asarray(image.convert("RGB")))
    assert judge.agreement(scenes.read(prompt), result).is_complete


@pytest.mark.parametrize("component", ["transformer", "vae"])
def test_other_weights_have_another_folder(component: str, tmp_path: Path) -> None:
    """After an update nobody keeps the old model, also where only the shared VAE is new."""
    for name in ("sdxl/vae", "sd35/transformer"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.safetensors").write_text("old")
    before = shipped.digest(tmp_path / "sd35")
    assert shipped.digest(tmp_path / "sd35") == before
    shipped.weight_file(tmp_path / "sd35", component).write_text("new")
    assert shipped.digest(tmp_path / "sd35") != before
