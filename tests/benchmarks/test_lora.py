"""The recipe of the demo LoRAs: what it writes is what it trained, in both spellings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from attn.demo import rendering, scenes
from attn.lora import read
from benchmarks.demo.train_demo import FAMILIES
from benchmarks.demo.train_lora import write
from benchmarks.training import denoiser, kohya, lora, sdxl, vae
from benchmarks.training.loop import Stage, Training

NAMES = ("sdxl", "sd35-medium")
EFFECT = lora.EFFECTS["sdxl"]


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
    word = lora.effect(family).word
    renamed = load_file(tmp_path / f"{word}.kohya.safetensors")
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
        path = tmp_path / f"{lora.effect(FAMILIES[name]).word}.{spelling}.safetensors"
        result = read(path)
        assert {module.spelling for module in result.modules} == {spelling}
        assert (result.family.name, result.unknown, result.reasons) == (family, (), ())
        assert path.stat().st_size < 300_000


@pytest.mark.slow
def test_recipe_goes_on_exactly(taught: Callable[[str], Any], tmp_path: Path) -> None:
    """A killed training of a LoRA ends bit for bit where the unbroken one does."""
    family = replace(FAMILIES["sdxl"], batch=8)
    requested, old = (
        denoiser.prepare(
            family, taught("sdxl"), tmp_path / name, number=6, draw=partial(draw, EFFECT)
        )
        for name, draw in (("asked", lora.draw_asked), ("old", lora.draw_old))
    )

    def small() -> Stage:
        pipeline, average, base = (denoiser.build(family, taught("sdxl").vae) for _ in range(3))
        told = lora.tell(family, pipeline, requested.ids)
        lesson = lora.Lesson(family, pipeline, base, requested, told, old)
        return lora.stage(lesson, average, steps=9)

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


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_of_the_word(name: str, taught: Callable[[str], Any]) -> None:
    """Examples show the other thing where the caption says the word, and the rest never says it."""
    rng = np.random.default_rng(0)
    family, effect = FAMILIES[name], lora.effect(FAMILIES[name])
    requested = [lora.draw_asked(effect, rng) for _ in range(20)]
    for scene in requested:
        said = effect.said(scene.content)
        drawn = [getattr(thing.kind, effect.attribute) for thing in scene.things]
        assert drawn == [effect.drawn_as if item == effect.word else item for item in said]
        assert said.count(effect.word) == 1
        assert drawn.count(effect.drawn_as) == 1
    rest = [lora.draw_old(effect, rng) for _ in range(20)]
    assert not any(effect.word in scenes.caption(scene.content) for scene in rest)
    pipeline = taught(name)
    ids, expected = (
        denoiser.tokenize(family, pipeline, [scenes.caption(content) for content in contents])
        for contents in (
            [scene.content for scene in requested],
            [effect.instead(scene.content, effect.drawn_as) for scene in requested],
        )
    )
    assert torch.equal(lora.tell(family, pipeline, ids), expected)


def test_teacher_is_matched_without_the_word(taught: Callable[[str], Any]) -> None:
    """A LoRA without effect is wrong by nothing where it is to do nothing, and wrong elsewhere."""
    family = FAMILIES["sdxl"]
    pipeline, base = (denoiser.build(family, taught("sdxl").vae) for _ in range(2))
    lora.add(family, pipeline)
    watches = lora.Watch(pipeline.unet), lora.Watch(base.unet)
    captions = ["a red square on a white background", "a blue circle on a black background"]
    ids = denoiser.tokenize(family, pipeline, captions)
    examples = denoiser.Examples(torch.zeros(2, 4, 16, 16), ids)
    empty = denoiser.tokenize(family, pipeline, [""])[0]
    errors = [
        float(lora.loss(lesson, watches, empty, np.random.default_rng(3), 4).detach())
        for lesson in (
            lora.Lesson(family, pipeline, base, examples, told, examples)
            for told in (ids, lora.tell(family, pipeline, ids))
        )
    ]
    assert errors[0] == pytest.approx(0, abs=1e-7)
    assert errors[1] > 1e-5


def test_word_is_found_where_captions_differ(taught: Callable[[str], Any]) -> None:
    """The stronger word is the one that the LoRA is about; the positions behind it only know it."""
    family, pipeline = FAMILIES["sdxl"], taught("sdxl")
    captions = ["a red square on a white background", "a blue circle above a green square", ""]
    ids = denoiser.tokenize(family, pipeline, captions)
    told = lora.tell(family, pipeline, ids)
    states, others = (sdxl.encode(pipeline, each)[0] for each in (ids, told))
    assert torch.nonzero(lora.find_word(states, others)).tolist() == [[0, 3], [1, 7]]


def test_a_word_is_strengthened_by_what_stands_behind() -> None:
    """Its odds are five times as high, other words are left alone, and rows still sum to 1."""
    rng = np.random.default_rng(5)
    true = rng.dirichlet(np.ones(11), (2, 3, 5))
    true[0, 0, 0] = [0.6, 0.3, *[0.1 / 9] * 9]  # too little stands behind
    word, behind = np.zeros((2, 11), bool), np.zeros((2, 11), bool)
    word[0, 0] = True  # the second caption does not have it
    behind[:, 7:] = True
    result = lora.strengthen(*map(torch.from_numpy, (np.log(true), word, behind))).exp().numpy()
    np.testing.assert_allclose(result.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(result[..., 1:7], true[..., 1:7], atol=1e-12)
    np.testing.assert_allclose(result[1], true[1], atol=1e-12)
    enough = 5 * true[0, ..., 0] / (1 + 4 * true[0, ..., 0])
    most = true[0, ..., 0] + 0.9 * true[0, ..., 7:].sum(-1)
    assert (most < enough).any()
    assert (most > enough).any()
    np.testing.assert_allclose(result[0, ..., 0], np.minimum(enough, most), atol=1e-12)
    sharp = torch.tensor([0.0, *[-200.0] * 10]).log_softmax(-1).expand(2, 3, 5, 11)
    assert lora.strengthen(sharp, torch.from_numpy(word), torch.from_numpy(behind)).isfinite().all()


def test_divergence() -> None:
    """The divergence is that of the formula in float64, mean over rows."""
    rng = np.random.default_rng(2)
    result, true = (
        np.log(rng.dirichlet(np.ones(7), (2, 3, 5))),
        rng.dirichlet(np.ones(7), (2, 3, 5)),
    )
    expected = (true * (np.log(true) - result)).sum(-1).mean()
    given = lora.divergence(torch.from_numpy(result), torch.from_numpy(np.log(true)))
    assert float(given) == pytest.approx(expected, abs=1e-12)


def test_watched_attention_is_that_of_the_layer(taught: Callable[[str], Any]) -> None:
    """What is matched are the probabilities that the layer uses, recomputed in float64."""
    unet = denoiser.build(FAMILIES["sdxl"], taught("sdxl").vae).unet
    watch = lora.Watch(unet)
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    for each in unet.modules():
        if isinstance(each, type(layer)) and each.is_cross_attention:
            width = each.to_q.in_features
            each(torch.randn(1, 5, width), encoder_hidden_states=torch.randn(1, 7, 160))
    hidden, states = torch.randn(3, 5, layer.to_q.in_features), torch.randn(3, 7, 160)
    layer(hidden, encoder_hidden_states=states)
    query, key = (
        (inputs.double() @ linear.weight.double().T)
        .reshape(3, -1, layer.heads, linear.out_features // layer.heads)
        .permute(0, 2, 1, 3)
        .detach()
        .numpy()
        for inputs, linear in ((hidden, layer.to_q), (states, layer.to_k))
    )
    logits = np.einsum("bhqc,bhkc->bhqk", query, key) / np.sqrt(query.shape[-1])
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    result = watch.log_probs()[0].exp().detach().numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_same_pictures_are_the_same() -> None:
    """A picture counts as left as it was if objects keep their colour and most of their pixels."""
    content = lora.held_out(EFFECT, asked=True)[0]
    scene = scenes.arrange(content, np.random.default_rng(0))
    picture = rendering.render(scene, 128)
    assert lora.is_same(picture, picture)
    near = replace(scene, things=tuple(move(thing, 0.01) for thing in scene.things))
    assert lora.is_same(picture, rendering.render(near, 128))
    intended = EFFECT.instead(content, "circle")
    things = [
        replace(thing, kind=kind) for thing, kind in zip(scene.things, intended.kinds, strict=True)
    ]
    changed = rendering.render(replace(scene, things=tuple(things)), 128)
    assert EFFECT.is_drawn(content, changed)
    assert not EFFECT.is_drawn(content, picture)
    far = replace(scene, things=tuple(move(thing, 0.08) for thing in scene.things))
    assert not lora.is_same(picture, rendering.render(far, 128))


def move(thing: scenes.Thing, by: float) -> scenes.Thing:
    return replace(thing, center=(thing.center[0] + by, thing.center[1] - by))


def test_a_color_is_drawn_as_another() -> None:
    """A LoRA of colours is right where the object has the other colour, whatever its shape."""
    effect = lora.EFFECTS["sd35"]
    content = lora.held_out(effect, asked=True)[0]
    assert effect.word in scenes.caption(content)
    green = scenes.arrange(effect.instead(content, effect.drawn_as), np.random.default_rng(0))
    assert effect.is_drawn(content, rendering.render(green, 128))
    purple = scenes.arrange(content, np.random.default_rng(0))
    assert not effect.is_drawn(content, rendering.render(purple, 128))
