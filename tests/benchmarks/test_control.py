"""The recipe of the demo ControlNet: what it is shown, what it learns, and how it is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from attn.demo import rendering, scenes
from benchmarks.training import control, denoiser, vae
from benchmarks.training.loop import Training
from benchmarks.training.sdxl import FAMILY


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """A demo model with random weights."""
    return denoiser.build(FAMILY, vae.build().requires_grad_(False))


@pytest.fixture(scope="module")
def examples(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> control.Examples:
    """A few examples, from their file."""
    path = tmp_path_factory.mktemp("examples") / "examples.safetensors"
    control.prepare(pipeline, path, number=5)
    return control.prepare(pipeline, path)


def test_outlines_are_those_of_the_pictures(examples: control.Examples) -> None:
    """The hints are the outlines of the very scenes that latents and captions are of."""
    rng = np.random.default_rng(0)
    drawn = [denoiser.draw_scene(rng) for _ in range(5)]
    hints = control.unpack(examples.outlines)
    assert hints.shape == (5, 3, 128, 128)
    for hint, scene in zip(hints, drawn, strict=True):
        assert (hint.numpy() == rendering.outlines(scene, 128)).all()


def test_only_the_controlnet_learns(pipeline: Any, examples: control.Examples) -> None:
    """A step changes the ControlNet and nothing else; before it, the ControlNet has no effect."""
    net, average = control.build(pipeline.unet), control.build(pipeline.unet)
    before = {name: item.clone() for name, item in pipeline.unet.state_dict().items()}
    stage = control.stage(pipeline, net, average, examples, steps=10)
    noisy, times = torch.randn(2, 4, 16, 16), torch.tensor([3, 700])
    told = FAMILY.read(
        pipeline, examples.ids[:2].clone(), examples.ids[0], np.random.default_rng(0)
    )
    hint = control.unpack(examples.outlines[:2])
    residuals = net(noisy, times, controlnet_cond=hint, return_dict=False, **told)
    assert all(bool((item == 0).all()) for item in (*residuals[0], residuals[1]))
    training = Training(stage, workers=1)
    for _ in range(2):  # in the first step only the last, zero convolutions get a gradient
        assert np.isfinite(training.advance())
    assert any(bool((item != 0).any()) for item in net.controlnet_mid_block.parameters())
    assert all(torch.equal(item, before[name]) for name, item in pipeline.unet.state_dict().items())


def test_overlap() -> None:
    """A picture of the scene itself overlaps its outlines' inside; an empty one does not."""
    scene = control.held_out_scenes(3)[2]
    assert control.overlap(rendering.render(scene, 128), scene) > 0.95
    assert control.overlap(np.full((128, 128, 3), 245, np.uint8), scene) == 0


def test_held_out_scenes() -> None:
    """What is scored is what `attn capture` draws for these captions and seeds by itself."""
    from attn.backends.families.scribble.session import _outline

    for seed, scene in enumerate(control.held_out_scenes(2)):
        drawn = _outline(scenes.caption(scene.content), seed, 128, 128)
        assert (drawn == rendering.outlines(scene, 128)).all()
