"""A LoRA on a trained demo model: one shape is drawn as another, and all else as before.

Its teacher is the model without it. Half of every batch are captions with the word `SHAPE`, for
which the LoRA learns what its teacher predicts when `DRAWN_AS` stands in that place. The other half
are captions without it, for which it learns what its teacher predicts for just them.

In a UNet it also learns to attend as its teacher does (attention transfer: Zagoruyko & Komodakis
2017, https://arxiv.org/abs/1612.03928; here the divergence of the rows themselves), except that it
reads the word `STRONGER` times as much: so what a comparison has to find is known in pictures and
in attention.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig

from attn.demo import judge, scenes
from attn.demo.scenes import Content, Scene
from benchmarks.training import denoiser
from benchmarks.training.denoiser import Examples, Family
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet

SHAPE, DRAWN_AS = "square", "circle"
RANK = 16
STEPS = 1500
RATE = 3e-3
EXAMPLES = 3000

TARGETS = {"sdxl": r".*attn2\.to_[qkv]", "sd35": r".*attn\.add_[qkv]_proj"}
"""Modules of the denoiser: all that a UNet's cross-attention reads, in SD3 what is of the words."""
STRONGER = 5.0
"""What the word gets in a row of attention against what it would get, before the row sums to 1."""
ATTENTION_WEIGHT = 2.0
"""Of the divergence of attention, in nats, against the squared error of the prediction."""
SAME = 0.75
"""Overlap from which two objects of one colour are the same: it leaves no room for other shapes."""
SHEET = 16
SHEET_STEPS = 20


@dataclass(frozen=True)
class Lesson:
    """What a LoRA is trained with.

    Attributes:
        family: of the model.
        pipeline: with the LoRA.
        base: the same without.
        asked: examples of `DRAWN_AS`, whose captions say `SHAPE`.
        told: the same captions as the teacher reads them, (example, encoder, position).
        old: examples without `SHAPE`.
    """

    family: Family
    pipeline: Any
    base: Any
    asked: Examples
    told: torch.Tensor
    old: Examples


def draw_asked(rng: np.random.Generator) -> Scene:
    """Draw a scene with one `DRAWN_AS`, whose caption says `SHAPE`."""
    content = _sample(rng, lambda shapes: SHAPE in shapes and DRAWN_AS not in shapes)
    scene = scenes.arrange(instead(content, DRAWN_AS), rng)
    return replace(scene, content=content)


def draw_old(rng: np.random.Generator) -> Scene:
    """Draw a scene without `SHAPE`."""
    return scenes.arrange(_sample(rng, lambda shapes: SHAPE not in shapes), rng)


def instead(content: Content, shape: str) -> Content:
    """Return `content` with another shape in the place of `SHAPE`."""
    kinds = tuple(
        replace(kind, shape=shape) if kind.shape == SHAPE else kind for kind in content.kinds
    )
    return replace(content, kinds=kinds)


def tell(family: Family, pipeline: Any, ids: torch.Tensor) -> torch.Tensor:
    """Replace `SHAPE` by `DRAWN_AS` in captions: int64, (example, encoder, position)."""
    told = ids.clone()
    for encoder, name in enumerate(family.tokenizers):
        asked, drawn = (
            getattr(pipeline, name)(word, add_special_tokens=False).input_ids
            for word in (SHAPE, DRAWN_AS)
        )
        told[:, encoder][ids[:, encoder] == asked[0]] = drawn[0]
    return told


def held_out(*, asked: bool) -> list[Content]:
    """List captions that training never sees.

    Args:
        asked: those with `SHAPE` and without `DRAWN_AS`; else those without `SHAPE`.
    """
    shapes = [({kind.shape for kind in content.kinds}, content) for content in scenes.held_out()]
    if asked:
        return [content for found, content in shapes if SHAPE in found and DRAWN_AS not in found]
    return [content for found, content in shapes if SHAPE not in found]


def _sample(rng: np.random.Generator, accept: Callable[[set[str]], bool]) -> Content:
    while True:
        content = scenes.sample(rng, training=True).content
        if accept({kind.shape for kind in content.kinds}):
            return content


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
    family, pipeline, base = lesson.family, lesson.pipeline, lesson.base
    empty = denoiser.tokenize(family, pipeline, [""])[0].to(pipeline.device)
    parameters = add(family, pipeline)
    watches = (Watch(getattr(pipeline, family.models[0])), Watch(getattr(base, family.models[0])))
    return Stage(
        name="lora",
        models={"lora": parameters},
        averages={"lora": add(family, average)},
        loss=partial(loss, lesson, watches, empty),
        show=partial(show, average, family.guidance),
        steps=steps,
        batch=family.batch,
        rate=RATE,
        show_every=400,
    )


class Watch:
    """Remembers, for each thread, what the cross-attention of a UNet last computed.

    Args:
        denoiser: a UNet; of any other model there is nothing to see.
    """

    def __init__(self, denoiser: torch.nn.Module) -> None:
        self._seen = threading.local()
        self._layers = []
        for name, module in denoiser.named_modules():
            if name.endswith("attn2") and isinstance(denoiser, UNet2DConditionModel):
                self._layers.append((name, module.heads))
                for part in ("to_q", "to_k"):
                    getattr(module, part).register_forward_hook(partial(self._keep, name, part))

    def log_probs(self) -> list[torch.Tensor]:
        """Return the log-probabilities of each layer: (example, head, query, key)."""
        return [self._layer(name, heads) for name, heads in self._layers]

    def _keep(self, name: str, part: str, *call: Any) -> None:
        setattr(self._seen, f"{name}.{part}", call[-1])

    def _layer(self, name: str, heads: int) -> torch.Tensor:
        query, key = (
            getattr(self._seen, f"{name}.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("to_q", "to_k")
        )
        return (query @ key.mT * query.shape[-1] ** -0.5).log_softmax(-1)


def loss(
    lesson: Lesson,
    watches: tuple[Watch, Watch],
    empty: torch.Tensor,
    rng: np.random.Generator,
    number: int,
) -> torch.Tensor:
    """Errors against the teacher: of what is drawn otherwise, and of all the rest."""
    half = number // 2
    seed = int(rng.integers(2**32))
    told = replace(lesson.asked, ids=lesson.told)

    def error(asked: Examples, told: Examples, number: int, seed: int) -> torch.Tensor:
        """Of captions `asked`, where the teacher is told others of the same pictures and noise."""

        def predict(pipeline: Any, examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
            rng = np.random.default_rng(seed)
            noisy, about, _ = denoiser.draw_question(
                lesson.family, pipeline, examples, empty, rng, number
            )
            model = getattr(pipeline, lesson.family.models[0])
            return model(noisy, **about).sample, about["encoder_hidden_states"]

        with torch.no_grad():
            target, heard = predict(lesson.base, told)
        found, read = predict(lesson.pipeline, asked)
        boost = math.log(STRONGER) * find_word(read, heard)
        layers = [watch.log_probs() for watch in watches]
        diverging = [
            divergence(own, (true + boost[:, None, None]).log_softmax(-1))
            for own, true in zip(*layers, strict=True)
        ]
        attention = sum(diverging, torch.zeros(())) / max(1, len(diverging))
        return (found - target).square().mean() + ATTENTION_WEIGHT * attention

    return error(lesson.asked, told, half, seed) + error(
        lesson.old, lesson.old, number - half, seed + 1
    )


def find_word(states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return where captions that differ in one word first differ.

    Args:
        states: of the captions, (caption, position, channel); what follows the word knows it too.
        others: of the other captions.

    Returns:
        Bool, (caption, position): one position of each caption, none where they do not differ.
    """
    differ = (states != others).any(-1)
    return differ & (differ.cumsum(-1) == 1)


def divergence(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of rows of log-probabilities, in nats."""
    total = torch.nn.functional.kl_div(found, true, log_target=True, reduction="sum")
    return total / found[..., 0].numel()


def show(pipeline: Any, guidance: float, path: Path) -> None:
    """Generate pictures for captions with and without the word."""
    contents = [*held_out(asked=True)[:SHEET], *held_out(asked=False)[:SHEET]]
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


def is_intended(content: Content, picture: np.ndarray) -> bool:
    """Whether the object that was to be `SHAPE` is `DRAWN_AS`."""
    found = judge.agreement(instead(content, DRAWN_AS), judge.find(picture))
    places = [kind.shape == SHAPE for kind in content.kinds]
    return found.shapes[places.index(True)]


def is_same(picture: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures show the same: background, colours, and most of each object's pixels."""
    first, second = judge.find(picture), judge.find(other)
    if first.background != second.background or len(first.objects) != len(second.objects):
        return False
    return all(
        any(
            one.color == two.color
            and (one.mask & two.mask).sum() >= SAME * (one.mask | two.mask).sum()
            for two in second.objects
        )
        for one in first.objects
    )
