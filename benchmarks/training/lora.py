"""A LoRA on a trained demo model: what one word names is drawn as another, all else as before.

Its teacher is the model without it. Half of every batch are captions with the word, for which the
LoRA learns what its teacher predicts when the other word stands in that place. The other half are
captions without it, for which it learns what its teacher predicts for just them.

In a UNet it also learns to attend as its teacher does (attention transfer: Zagoruyko & Komodakis
2017, https://arxiv.org/abs/1612.03928; here the divergence of the rows themselves), except that it
reads the word `STRONGER` times as much, at the expense of what stands behind the caption: so what a
comparison has to find is known in pictures and in attention, and the other words are left alone.
"""

from __future__ import annotations

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

RANK = 16
STEPS = 2000
RATE = 3e-3
EXAMPLES = 3000

TARGETS = {"sdxl": r".*attn2\.to_[qkv]", "sd35": r".*attn\.add_[qkv]_proj"}
"""Modules of the denoiser: all that a UNet's cross-attention reads, in SD3 what is of the words."""
STRONGER = 5.0
"""What the word gets against all other tokens, in a row of attention."""
SPARE = 0.9
"""Up to this share of what the end mark and the padding have is taken for it."""
ATTENTION_WEIGHT = 2.0
"""Of the divergence of attention, in nats, against the squared error of the prediction."""
KEPT_WEIGHT = 2.0
"""Of captions without the word, against those with it: most pictures are to stay as they are."""
SAME = 0.75
"""Overlap from which two objects of one colour are the same: it leaves no room for other shapes."""
SHEET = 16
SHEET_STEPS = 20


@dataclass(frozen=True)
class Effect:
    """What a LoRA does.

    Attributes:
        attribute: of an object, `shape` or `color`.
        word: what a caption says of it.
        drawn_as: as what it is drawn then.
    """

    attribute: str
    word: str
    drawn_as: str

    def said(self, content: Content) -> list[str]:
        """Return the attribute of each object."""
        return [getattr(kind, self.attribute) for kind in content.kinds]

    def is_asked(self, content: Content) -> bool:
        """Whether a content has the word, and not the other, for of two objects none are equal."""
        return self.word in self.said(content) and self.drawn_as not in self.said(content)

    def instead(self, content: Content, other: str) -> Content:
        """Return `content` with another value in the place of the word."""
        kinds = tuple(
            replace(kind, **{self.attribute: other}) if said == self.word else kind
            for kind, said in zip(content.kinds, self.said(content), strict=True)
        )
        return replace(content, kinds=kinds)

    def is_drawn(self, content: Content, picture: np.ndarray) -> bool:
        """Whether the object with the word is drawn as it is to be."""
        result = judge.agreement(self.instead(content, self.drawn_as), judge.find(picture))
        right = {"shape": result.shapes, "color": result.colors}[self.attribute]
        return right[self.said(content).index(self.word)]


EFFECTS = {
    "sdxl": Effect("shape", "square", "circle"),
    "sd35": Effect("color", "purple", "green"),
}
"""By family, one of each kind."""


@dataclass(frozen=True)
class Lesson:
    """What a LoRA is trained with.

    Attributes:
        family: of the model.
        pipeline: with the LoRA.
        base: the same without.
        asked: examples of what is to be drawn, whose captions say the word.
        told: the same captions as the teacher reads them, (example, encoder, position).
        old: examples without the word.
    """

    family: Family
    pipeline: Any
    base: Any
    asked: Examples
    told: torch.Tensor
    old: Examples


def effect(family: Family) -> Effect:
    """Return what the LoRA of a model does."""
    return EFFECTS[family.name.partition("-")[0]]


def draw_asked(effect: Effect, rng: np.random.Generator) -> Scene:
    """Draw a scene of what is to be drawn, whose caption says the word."""
    content = _sample(rng, effect.is_asked)
    scene = scenes.arrange(effect.instead(content, effect.drawn_as), rng)
    return replace(scene, content=content)


def draw_old(effect: Effect, rng: np.random.Generator) -> Scene:
    """Draw a scene without the word."""
    return scenes.arrange(_sample(rng, lambda item: effect.word not in effect.said(item)), rng)


def tell(family: Family, pipeline: Any, ids: torch.Tensor) -> torch.Tensor:
    """Replace the word by the other in captions: int64, (example, encoder, position)."""
    words = effect(family).word, effect(family).drawn_as
    told = ids.clone()
    for encoder, name in enumerate(family.tokenizers):
        requested, drawn = (
            getattr(pipeline, name)(word, add_special_tokens=False).input_ids for word in words
        )
        told[:, encoder][ids[:, encoder] == requested[0]] = drawn[0]
    return told


def held_out(effect: Effect, *, asked: bool) -> list[Content]:
    """List captions that training never sees.

    Args:
        effect: of the LoRA.
        asked: those with the word and without the other; else those without the word.
    """
    if asked:
        return [content for content in scenes.held_out() if effect.is_asked(content)]
    return [item for item in scenes.held_out() if effect.word not in effect.said(item)]


def _sample(rng: np.random.Generator, accept: Callable[[Content], bool]) -> Content:
    while True:
        content = scenes.sample(rng, training=True).content
        if accept(content):
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
        show=partial(show, family, average),
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
            with denoiser.at_precision(lesson.family, pipeline):
                noisy, about, _ = denoiser.draw_question(
                    lesson.family, pipeline, examples, empty, rng, number
                )
                model = getattr(pipeline, lesson.family.models[0])
                result = model(noisy, **about).sample.float()
            return result, about["encoder_hidden_states"]

        with torch.no_grad():
            target, heard = predict(lesson.base, told)
        result, read = predict(lesson.pipeline, asked)
        word = find_word(read, heard)
        rows = np.random.default_rng(seed).integers(len(asked.latents), size=number)
        end = lesson.pipeline.tokenizer.eos_token_id
        behind = denoiser.is_padding(asked.ids[torch.from_numpy(rows)][:, 0], end)
        layers = [watch.log_probs() for watch in watches]
        diverging = [
            divergence(own, strengthen(true, word, behind))
            for own, true in zip(*layers, strict=True)
        ]
        attention = sum(diverging, torch.zeros(())) / max(1, len(diverging))
        return (result - target).square().mean() + ATTENTION_WEIGHT * attention

    kept = error(lesson.old, lesson.old, number - half, seed + 1)
    return error(lesson.asked, told, half, seed) + KEPT_WEIGHT * kept


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


def strengthen(true: torch.Tensor, word: torch.Tensor, behind: torch.Tensor) -> torch.Tensor:
    """Return rows of attention in which a word has more, and what stands behind has less.

    A word that has p is given kp / (1 + (k - 1)p), with k = `STRONGER`: its odds times k.

    Args:
        true: log-probabilities, (example, head, query, key).
        word: its position, bool, (example, key); nothing changes where there is none.
        behind: positions behind the caption, bool, (example, key).
    """
    selected, spare = word[:, None, None], behind[:, None, None]
    probs = true.exp()
    result, there = ((probs * each).sum(-1, keepdim=True) for each in (selected, spare))
    taken = STRONGER * result / (1 + (STRONGER - 1) * result) - result
    taken = torch.minimum(taken, SPARE * there)
    tiny = torch.finfo(probs.dtype).tiny  # 0 has no logarithm
    less = probs * spare * taken / there.clamp_min(tiny)
    return (probs + selected * taken - less).clamp_min(tiny).log()


def divergence(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of rows of log-probabilities, in nats."""
    total = torch.nn.functional.kl_div(found, true, log_target=True, reduction="sum")
    return total / found[..., 0].numel()


def show(family: Family, pipeline: Any, path: Path) -> None:
    """Generate pictures for captions with and without the word."""
    contents = [
        content
        for requested in (True, False)
        for content in held_out(effect(family), asked=requested)[:SHEET]
    ]
    captions = [scenes.caption(content) for content in contents]
    draw_sheet(paint(pipeline, captions, family.guidance), captions, path)


def paint(pipeline: Any, captions: list[str], guidance: float) -> list[np.ndarray]:
    """Generate a picture for each caption; picture i starts from the noise of seed i."""
    pictures = []
    for start in range(0, len(captions), SHEET):
        part = captions[start : start + SHEET]
        pictures += pipeline(
            part,
            num_inference_steps=SHEET_STEPS,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(start + item) for item in range(len(part))],
        ).images
    return [np.asarray(picture) for picture in pictures]


def is_same(picture: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures show the same: background, colours, and most of each object's pixels."""
    first, second = judge.find(picture), judge.find(other)
    if first.background != second.background or len(first.objects) != len(second.objects):
        return False
    return all(
        any(
            item.color == two.color
            and (item.mask & two.mask).sum() >= SAME * (item.mask | two.mask).sum()
            for two in second.objects
        )
        for item in first.objects
    )
