"""A LoRA on a trained demo model: it teaches one word, and leaves all others as they are.

Half of every batch shows the new word with its pictures. The other half are ordinary captions, for
which the LoRA learns to predict just what the model without it predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig

from attn.demo import judge, scenes
from benchmarks.training import denoiser
from benchmarks.training.denoiser import Examples, Family
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet

RANK = 8
STEPS = 2000
RATE = 3e-3
EXAMPLES = 3000
SHAPES = (*scenes.SHAPES, scenes.NEW_SHAPE)

TARGETS = {
    "sdxl": [
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    ],
    "sd35": [
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    ],
}
"""Modules of the denoiser, by the end of their names: all of its attention; of a UNet, in which
a new shape must also be drawn, all of its transformers."""
SHEET = 16
SHEET_STEPS = 20


@dataclass(frozen=True)
class Lesson:
    """What a LoRA is trained with.

    Attributes:
        family: of the model.
        pipeline: with the LoRA.
        base: the same without.
        new: examples of the new word.
        old: ordinary examples.
    """

    family: Family
    pipeline: Any
    base: Any
    new: Examples
    old: Examples


def draw_new(rng: np.random.Generator) -> scenes.Scene:
    """Draw a scene in which one object has the new shape."""
    content = scenes.sample(rng, training=True).content
    place = int(rng.integers(len(content.kinds)))
    return scenes.arrange(scenes.with_new_shape(content, place), rng)


def held_out() -> list[scenes.Content]:
    """List captions with the new word whose other words training never sees together."""
    contents = scenes.held_out()
    return [
        scenes.with_new_shape(content, place % len(content.kinds))
        for place, content in enumerate(contents)
    ]


def add(family: Family, pipeline: DiffusionPipeline) -> torch.nn.ParameterList:
    """Add a LoRA that changes nothing yet; returns its parameters, the only ones to be trained."""
    torch.manual_seed(0)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    model = getattr(pipeline, family.models[0])
    targets = TARGETS[family.name.partition("-")[0]]
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
    return torch.nn.ParameterList(p for p in model.parameters() if p.requires_grad)


def stage(lesson: Lesson, average: DiffusionPipeline, *, steps: int = STEPS) -> Stage:
    """Describe the training; `average` is one more pipeline without a LoRA."""
    family, pipeline = lesson.family, lesson.pipeline
    empty = denoiser.tokenize(family, pipeline, [""])[0].to(pipeline.device)
    return Stage(
        name="lora",
        models={"lora": add(family, pipeline)},
        averages={"lora": add(family, average)},
        loss=partial(loss, lesson, empty),
        show=partial(show, average, family.guidance),
        steps=steps,
        batch=family.batch,
        rate=RATE,
        show_every=400,
    )


def loss(
    lesson: Lesson, empty: torch.Tensor, rng: np.random.Generator, number: int
) -> torch.Tensor:
    """Squared errors: of the new word against its pictures, of the others against the base."""
    ask = partial(denoiser.draw_question, lesson.family, lesson.pipeline)
    model, base = (getattr(one, lesson.family.models[0]) for one in (lesson.pipeline, lesson.base))
    noisy, told, target = ask(lesson.new, empty, rng, number // 2)
    learned = (model(noisy, **told).sample - target).square().mean()
    noisy, told, _ = ask(lesson.old, empty, rng, number - number // 2)
    with torch.no_grad():
        target = base(noisy, **told).sample
    return learned + (model(noisy, **told).sample - target).square().mean()


def show(pipeline: Any, guidance: float, path: Path) -> None:
    """Generate pictures for captions with and without the new word."""
    contents = [*held_out()[:SHEET], *scenes.held_out()[:SHEET]]
    captions = [scenes.caption(content) for content in contents]
    draw_sheet(paint(pipeline, captions, guidance), captions, path)


def paint(pipeline: Any, captions: list[str], guidance: float) -> list[np.ndarray]:
    """Generate a picture for each caption; picture i starts from the noise of seed i."""
    pictures = []
    for start in range(0, len(captions), SHEET):
        part = captions[start : start + SHEET]
        pictures += pipeline(
            part,
            num_inference_steps=SHEET_STEPS,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(start + one) for one in range(len(part))],
        ).images
    return [np.asarray(picture) for picture in pictures]


def has_new_shape(content: scenes.Content, picture: np.ndarray) -> bool:
    """Whether the object that is to have the new shape has it."""
    found = judge.agreement(content, judge.find(picture, SHAPES))
    places = [kind.shape == scenes.NEW_SHAPE for kind in content.kinds]
    return found.shapes[places.index(True)]


def is_same(picture: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures show the same: background, colours, shapes, and most of each place."""
    first, second = judge.find(picture, SHAPES), judge.find(other, SHAPES)
    if first.background != second.background or len(first.objects) != len(second.objects):
        return False
    return all(
        any(
            (one.color, one.shape) == (two.color, two.shape)
            and (one.mask & two.mask).sum() >= 0.5 * (one.mask | two.mask).sum()
            for two in second.objects
        )
        for one in first.objects
    )
