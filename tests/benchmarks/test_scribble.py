"""The recipe of the demo that reads drawings as tokens: what it begins with, sees, and ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attn
from attn.backends.families.scribble.tokens import TokensSession
from attn.demo import rendering, shipped, trained
from benchmarks.demo.train_demo import export
from benchmarks.training import control, denoiser, scribble, sdxl, vae
from benchmarks.training.loop import Stage
from tests.benchmarks.test_training import CAPTIONS, assert_goes_on_exactly
from tests.helpers import sketches
from tests.helpers.models.opening import opening


@pytest.fixture(scope="module")
def base() -> Any:
    """The demo's SDXL with random weights."""
    return denoiser.build(sdxl.FAMILY, vae.build().requires_grad_(False))


@pytest.fixture(scope="module")
def examples(base: Any, tmp_path_factory: pytest.TempPathFactory) -> control.Examples:
    """A few examples."""
    return control.prepare(base, tmp_path_factory.mktemp("examples") / "them", number=11)


@pytest.fixture(scope="module")
def student(base: Any, examples: control.Examples) -> scribble.Student:
    """What is trained; do not change it."""
    return scribble.build(base, examples)


@torch.no_grad()
def test_it_begins_as_sdxl_with_one_encoder(base: Any, student: scribble.Student) -> None:
    """The UNet predicts just what SDXL's does that hears nothing of the other encoder."""
    noisy, times = torch.randn(2, 4, 16, 16), torch.tensor([3, 700])
    states = torch.randn(2, 5, 64)
    told = {"text_embeds": torch.zeros(2, 96), "time_ids": sdxl.time_ids(base, 2)}
    wide = torch.cat([states, torch.zeros(2, 5, 96)], -1)
    wanted = base.unet(noisy, times, wide, added_cond_kwargs=told).sample
    result = student.pipeline.unet(noisy, times, states).sample
    torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_text_is_encoded_as_the_pipeline_does(base: Any, student: scribble.Student) -> None:
    """Training reads what generation reads: at first what SDXL reads, brought to unit variance."""
    pipeline = student.pipeline
    ids = denoiser.tokenize(sdxl.FAMILY, base, CAPTIONS)[:, 0]
    states = scribble.encode_text(pipeline, ids)
    expected = pipeline.encode_prompt(CAPTIONS, "cpu", 1, False)[0]
    torch.testing.assert_close(states, expected, rtol=0, atol=0)
    heard = base.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
    normed = torch.nn.functional.layer_norm(heard, (64,))
    torch.testing.assert_close(states, normed, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_drawings_are_read_as_in_a_capture(
    base: Any, student: scribble.Student, examples: control.Examples
) -> None:
    """A capture gives the encoder's answer to the same outlines: black on white, 256 pixels."""
    session = object.__new__(TokensSession)
    session.pipe, session.encoder = student.pipeline, student.encoder
    strokes = [item.numpy().astype(bool) for item in control.unpack(examples.outlines[:3])[:, 0]]
    options = opening_options()
    result = session._encode_drawings(strokes, options)
    drawings = scribble.read_outlines(examples.outlines[:3])
    assert drawings.shape == (3, 1, 256, 256)
    torch.testing.assert_close(student.encoder(drawings), result, rtol=0, atol=0)


def opening_options() -> Any:
    from attn.backends import find, load

    return load(find("scribble")).Options()


@torch.no_grad()
def test_drawings_differ_before_training(
    student: scribble.Student, examples: control.Examples
) -> None:
    """Each feature that tokens are made of differs by about 1 between drawings, around 0."""
    drawings = scribble.read_outlines(examples.outlines)
    pooled = student.encoder.conv_encoder(drawings).mean((2, 3))
    features = student.encoder.to_tokens[0](pooled)
    assert features.mean(0).abs().max() < 1e-2
    assert 0.3 < features.std(0).mean() < 1.5
    assert pooled.std(0).mean() < 0.1
    empty = student.encoder.conv_encoder(torch.zeros(1, 1, 256, 256)).abs().max()
    assert empty < pooled.std(0).mean()


@torch.no_grad()
def test_what_is_left_out(student: scribble.Student, examples: control.Examples) -> None:
    """Nothing at all is the row uncond; text is zeros, and a drawing alone has no strokes."""
    number = 400
    ids, outlines = (
        examples.ids[:1, 0].repeat(number, 1),
        examples.outlines[:1].repeat(number, 1, 1),
    )
    states = scribble.read(student, ids, outlines, np.random.default_rng(0))
    text, sketch = states[:, :77], states[:, 77:]
    no_text = (text == 0).all(2).all(1)
    black, white = (student.encoder(torch.full((1, 1, 256, 256), level))[0] for level in (0.0, 1.0))
    is_black, is_white = (
        torch.isclose(sketch, item, rtol=1e-2, atol=1e-2).all(2).all(1) for item in (black, white)
    )
    assert (no_text | ~is_black).all()
    assert not (no_text & is_white).any()
    rates = [float(item.float().mean()) for item in (is_black, no_text & ~is_black, is_white)]
    assert rates == pytest.approx([0.1, 0.3, 0.1], abs=0.05)


def test_sizes_and_shapes(student: scribble.Student) -> None:
    """Pictures of the scenes themselves have their shapes and sizes; others have not."""
    drawn = control.held_out_scenes(5)
    pictures = [rendering.render(scene, 128) for scene in drawn]
    assert all(
        scribble.has_shapes(picture, scene.content)
        for picture, scene in zip(pictures, drawn, strict=True)
    )
    assert not scribble.has_shapes(pictures[1], drawn[0].content)
    assert scribble.agree_in_size(pictures, drawn) > 0.99
    assert scribble.agree_in_size(pictures[::-1], drawn) < 0.9


@pytest.mark.slow
def test_recipe_goes_on_exactly(base: Any, examples: control.Examples, tmp_path: Path) -> None:
    """The real recipe resumes bit for bit."""

    def small() -> Stage:
        student, average = (scribble.build(base, examples) for _ in range(2))
        return replace(scribble.stage(student, average, examples, steps=9), batch=4)

    assert_goes_on_exactly(small, tmp_path / "scribble.safetensors")


@pytest.mark.slow
def test_sheets_are_drawn(
    student: scribble.Student,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While training goes on, pictures and a few numbers tell how it does."""
    monkeypatch.setattr(scribble, "SHEET", 2)
    monkeypatch.setattr(scribble, "SHEET_STEPS", 1)
    scribble.show(student, tmp_path / "sheet-00002.png")
    assert (tmp_path / "sheet-00002.png").stat().st_size > 1000
    assert capsys.readouterr().err.startswith("sheet-00002 background ")


def test_what_ships_is_the_trained_model(
    student: scribble.Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights become the demo, which opens with all of them, and reads a drawing."""
    weights = tmp_path / "weights"
    export(student.models(), weights / "scribble-tokens")
    export({"vae": student.pipeline.vae}, weights / "sdxl")
    assert sum(path.stat().st_size for path in (weights / "scribble-tokens").iterdir()) < 6e6
    monkeypatch.setattr(shipped, "WEIGHTS", weights)
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    sketch = str(sketches.save(tmp_path))
    session: Any = opening("scribble", "demo:tokens", sketch=sketch)
    assert (session.default_guidance, session.warnings) == (3.0, ())
    opened = {
        "unet": session.model,
        "text_encoder": session.pipe.text_encoder,
        "sketch_encoder": session.encoder,
    }
    for name, model in student.models().items():
        for key, tensor in opened[name].state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key].half().float()), f"{name}: {key}"
    config = session.scheduler.config
    trained_with = {name: config[name] for name in trained.TOKENS_NOISE}
    assert trained_with == trained.TOKENS_NOISE
    captured = attn.capture(
        "scribble", CAPTIONS[0], model="demo:tokens", steps=2, out=tmp_path / "run"
    )
    segments = captured.trace.manifest.segments["cond"]
    assert [segment.name for segment in segments] == ["clip", "sketch"]
