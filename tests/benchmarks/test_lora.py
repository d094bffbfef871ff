"""The recipe of the demo LoRAs: what it writes is what it trained, in both spellings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from attn.demo import scenes
from attn.lora import read
from benchmarks.train_demo import FAMILIES
from benchmarks.train_lora import write
from benchmarks.training import denoiser, kohya, lora, vae
from benchmarks.training.loop import Stage, Training

NAMES = ("sdxl", "sd35-medium")


@pytest.fixture(scope="module")
def taught() -> Callable[[str], Any]:
    """A model with random weights and a LoRA that changes something, by name; do not change it."""
    autoencoder = vae.build().requires_grad_(False)

    @cache
    def build(name: str) -> Any:
        pipeline = denoiser.build(FAMILIES[name], autoencoder)
        parameters = lora.add(FAMILIES[name], pipeline)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in parameters:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return pipeline

    return build


@pytest.mark.parametrize("name", NAMES)
def test_both_spellings_say_the_same(
    name: str, taught: Callable[[str], Any], tmp_path: Path
) -> None:
    """The change of every weight, recomputed from the kohya file, is that of the peft file."""
    family = FAMILIES[name]
    write(family, taught(name), tmp_path)
    state = get_peft_model_state_dict(getattr(taught(name), family.models[0]))
    renamed = load_file(tmp_path / "cross.kohya.safetensors")
    total = 0.0
    for stem in {key.partition(".")[0] for key in renamed}:
        down, up = (renamed[f"{stem}.lora_{side}.weight"].double() for side in ("down", "up"))
        total += float((up @ down).square().sum()) * float(renamed[f"{stem}.alpha"] / len(down))
    expected = sum(
        (tensor.half().double() @ state[key.replace("lora_B", "lora_A")].half().double())
        .square()
        .sum()
        for key, tensor in state.items()
        if ".lora_B." in key
    )
    assert total == pytest.approx(float(expected))


def test_joined_projections_keep_their_order() -> None:
    """SAI's qkv is query, key, value from top to bottom, each with ranks of its own."""
    names = ("to_q", "to_k", "to_v")
    state = {}
    for number, name in enumerate(names):
        stem = f"transformer.transformer_blocks.3.attn2.{name}.lora"
        state[f"{stem}_A.weight"] = torch.full((2, 5), number + 1.0)
        state[f"{stem}_B.weight"] = torch.full((3, 2), number + 1.0)
    renamed = kohya.rename(state)
    stem = "lora_unet_joint_blocks_3_x_block_attn2_qkv"
    product = renamed[f"{stem}.lora_up.weight"] @ renamed[f"{stem}.lora_down.weight"]
    assert product[:, 0].tolist() == [2.0] * 3 + [8.0] * 3 + [18.0] * 3
    assert float(renamed[f"{stem}.alpha"]) == 6


@pytest.mark.parametrize(("name", "family"), [("sdxl", "sdxl"), ("sd35-medium", "sd35")])
def test_files_are_known(
    name: str, family: str, taught: Callable[[str], Any], tmp_path: Path
) -> None:
    """`attn lora` takes both files for what they are, and each is under 300 KB."""
    write(FAMILIES[name], taught(name), tmp_path)
    for spelling in ("peft", "kohya"):
        path = tmp_path / f"cross.{spelling}.safetensors"
        found = read(path)
        assert {module.spelling for module in found.modules} == {spelling}
        assert (found.family.name, found.unknown, found.reasons) == (family, (), ())
        assert path.stat().st_size < 300_000


@pytest.mark.slow
def test_recipe_goes_on_exactly(taught: Callable[[str], Any], tmp_path: Path) -> None:
    """A killed training of a LoRA ends bit for bit where the unbroken one does."""
    family = replace(FAMILIES["sdxl"], batch=8)
    path = tmp_path / "examples.safetensors"
    examples = denoiser.prepare(family, taught("sdxl"), path, number=6, draw=lora.draw_new)

    def small() -> Stage:
        pipeline, average, base = (denoiser.build(family, taught("sdxl").vae) for _ in range(3))
        return lora.stage(lora.Lesson(family, pipeline, base, examples, examples), average, steps=9)

    unbroken, killed, resumed = (Training(small(), workers=2) for _ in range(3))
    for _ in range(2):
        unbroken.advance()
    killed.advance()
    killed.save(tmp_path / "checkpoint.safetensors")
    resumed.load(tmp_path / "checkpoint.safetensors")
    resumed.advance()
    assert all(
        torch.equal(parameter, resumed.parameters[name])
        for name, parameter in unbroken.parameters.items()
    )


def test_same_pictures_are_the_same() -> None:
    """A picture counts as left as it was if objects keep colour, shape and most of their place."""
    content = scenes.held_out()[0]
    scene = scenes.arrange(content, np.random.default_rng(0))
    picture = scenes.render(scene, 128)
    assert lora.is_same(picture, picture)
    first, second = scene.things
    near = replace(first, center=(first.center[0] + 0.02, first.center[1] - 0.02))
    assert lora.is_same(picture, scenes.render(replace(scene, things=(near, second)), 128))
    other = scenes.with_new_shape(content, 0)
    cross = replace(first, kind=other.kinds[0])
    changed = scenes.render(replace(scene, things=(cross, second)), 128)
    assert not lora.is_same(picture, changed)
    assert lora.has_new_shape(other, changed)
    assert not lora.has_new_shape(other, picture)
