"""Second stage: the denoiser and its text encoders, trained together on latents."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file, save_file

from attn.demo import rendering, scenes, trained
from attn.demo.tokenizers import CLIP_LENGTH
from benchmarks.demo.score_demo import judge_all, tally
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet
from benchmarks.training.vae import to_tensor

EXAMPLES = 20_000

NO_CAPTION = 0.1
"""Share of examples without caption, for guidance."""
NO_SUMMARY = 0.7
"""Share of examples without the pooled caption, and likewise with the padding of another caption.

Both know the whole caption; where they can be relied on, the words need not say anything."""
CLIP_GAIN = 50.0
"""Raises fresh embeddings of CLIP to a standard deviation of 1, so that the denoiser hears from the
first step which word is which: SDXL and SD3 read states that no normalisation has scaled."""

Draw = Callable[[np.random.Generator], scenes.Scene]

SHEETS = 8
SHEET_PROMPTS = 32
SHEET_STEPS = 20


@dataclass(frozen=True)
class Family:
    """What the training of one model is about; all else is the same for all.

    Attributes:
        name: a key of `trained.PIPELINES`.
        models: the components that are trained, the denoiser first.
        tokenizers: the components whose ids are in `Examples.ids`, in that order.
        prepare: adapts a pipeline with random weights before it is trained.
        read: reads captions as the pipeline does, but with gradients, and with some of what they
            say left out: of pipeline, ids, ids of the empty caption and a generator; returns
            arguments of the denoiser.
        mix: adds noise to latents, at times that it draws: of pipeline, latents, noise and a
            generator; returns the noisy latents, their times and what the denoiser is to predict.
        steps: of the training.
        batch: examples per step.
        rate: highest learning rate.
        guidance: scale with which sheets are generated.
        precision: of products of matrices on the way to the loss.
        learns: what is trained of the denoiser, as a pattern that is searched for in names of
            weights.
    """

    name: str
    models: tuple[str, ...]
    tokenizers: tuple[str, ...]
    prepare: Callable[[Any], None]
    read: Callable[[Any, torch.Tensor, torch.Tensor, np.random.Generator], dict[str, Any]]
    mix: Callable[
        [torch.Tensor, torch.Tensor, np.random.Generator],
        tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ]
    steps: int
    batch: int
    rate: float
    guidance: float
    precision: torch.dtype = torch.float32
    learns: str = ""


@dataclass(frozen=True)
class Examples:
    """Pictures with captions, ready for the denoiser.

    Attributes:
        latents: scaled, (example, channel, row, column).
        ids: of the caption's tokens, (example, encoder, position).
    """

    latents: torch.Tensor
    ids: torch.Tensor


def stage(
    family: Family,
    pipeline: DiffusionPipeline,
    average: DiffusionPipeline,
    examples: Examples,
    *,
    steps: int,
) -> Stage:
    """Describe the training of the denoiser and the text encoders of `pipeline`."""
    empty = tokenize(family, pipeline, [""])[0].to(pipeline.device)
    return Stage(
        name="denoiser",
        models={name: getattr(pipeline, name) for name in family.models},
        averages={name: getattr(average, name) for name in family.models},
        loss=partial(loss, family, pipeline, examples, empty),
        show=partial(show, average, family.guidance),
        steps=steps,
        batch=family.batch,
        rate=family.rate,
        show_every=max(1, steps // SHEETS),
    )


def build(family: Family, vae: AutoencoderKL) -> DiffusionPipeline:
    """Random weights around a trained VAE."""
    torch.manual_seed(0)
    pipeline: Any = trained.PIPELINES[family.name]()
    pipeline.vae = vae
    with torch.no_grad():
        family.prepare(pipeline)
    for name, parameter in getattr(pipeline, family.models[0]).named_parameters():
        parameter.requires_grad_(re.search(family.learns, name) is not None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(vae.device)


def prepare(
    family: Family,
    pipeline: DiffusionPipeline,
    path: Path,
    *,
    number: int,
    draw: Draw | None = None,
) -> Examples:
    """Draw scenes, encode them, and keep them in a file for the next time.

    Args:
        family: which tokenizers.
        pipeline: its VAE makes the latents, its tokenizers the ids.
        path: a safetensors file.
        number: of examples.
        draw: one scene; by default one whose caption is not held out.
    """
    draw = draw or draw_scene
    if not path.exists():
        latents, captions = encode_scenes(pipeline.vae, number, draw)
        examples = {"latents": latents.half(), "ids": tokenize(family, pipeline, captions)}
        save_file(examples, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
    tensors = load_file(path, device=str(pipeline.device))
    return Examples(tensors["latents"].float(), tensors["ids"])


def draw_scene(rng: np.random.Generator) -> scenes.Scene:
    """Draw a scene for training."""
    return scenes.sample(rng, training=True)


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, number: int, draw: Draw) -> tuple[torch.Tensor, list[str]]:
    """Draw scenes; returns their scaled latents and their captions."""
    rng = np.random.default_rng(0)
    latents, captions = [], []
    for start in range(0, number, 50):
        drawn = [draw(rng) for _ in range(start, min(start + 50, number))]
        pictures = [rendering.render(scene, vae.config.sample_size) for scene in drawn]
        latents.append(vae.encode(to_tensor(pictures, vae)).latent_dist.mean.contiguous())
        captions += [scenes.caption(scene.content) for scene in drawn]
    return torch.cat(latents) * vae.config.scaling_factor, captions


def loss(
    family: Family,
    pipeline: DiffusionPipeline,
    examples: Examples,
    empty: torch.Tensor,
    rng: np.random.Generator,
    number: int,
) -> torch.Tensor:
    """Squared error of the prediction, for examples and noise drawn at random."""
    with at_precision(family, pipeline):
        noisy, told, target = draw_question(family, pipeline, examples, empty, rng, number)
        denoiser = getattr(pipeline, family.models[0])
        answer = denoiser(noisy, **told).sample
    return (answer.float() - target).square().mean()


def at_precision(family: Family, pipeline: DiffusionPipeline) -> torch.autocast:
    """Return a context in which products of matrices have the family's precision."""
    is_low = family.precision != torch.float32
    return torch.autocast(pipeline.device.type, family.precision, enabled=is_low)


def draw_question(
    family: Family,
    pipeline: DiffusionPipeline,
    examples: Examples,
    empty: torch.Tensor,
    rng: np.random.Generator,
    number: int,
) -> tuple[torch.Tensor, dict[str, Any], torch.Tensor]:
    """Draw examples and noise; returns noisy latents, what is told of them, the answer."""
    rows = torch.from_numpy(rng.integers(len(examples.latents), size=number))
    latents = examples.latents[rows]
    told = family.read(pipeline, examples.ids[rows], empty, rng)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(latents)
    noisy, times, target = family.mix(latents, noise, rng)
    return noisy, {"timestep": times, **told}, target


def draw_times(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw times from 0 to 1, more of them late: only high noise hides where things are."""
    return 1 - rng.random(number) ** 2


def draw_shares(rng: np.random.Generator, number: int) -> torch.Tensor:
    """Draw a number from 0 to 1 for each example, which decides what is left out of it."""
    return torch.from_numpy(rng.random(number))


def amplify(*encoders: Any) -> None:
    """Multiply the embeddings of CLIP encoders with random weights by `CLIP_GAIN`, in place."""
    for encoder in encoders:
        for name, parameter in encoder.named_parameters():
            if name.endswith(("token_embedding.weight", "position_embedding.weight")):
                parameter.mul_(CLIP_GAIN)


def is_padding(ids: torch.Tensor, end: int) -> torch.Tensor:
    """Whether a position is the first token `end` or lies behind it.

    Args:
        ids: (caption, position).
        end: id of the token that ends a caption; CLIP-L pads with it too.
    """
    last = (ids == end).int().argmax(-1)
    return torch.arange(ids.shape[-1], device=ids.device) >= last[:, None]


def mislead(states: torch.Tensor, padding: torch.Tensor, is_misled: torch.Tensor) -> torch.Tensor:
    """Give captions the padding of their neighbours, which says nothing true of them.

    Args:
        states: (caption, position, channel).
        padding: (caption, position), see `is_padding`.
        is_misled: (caption).

    Returns:
        The states with that padding; zeros where the neighbour has words.
    """
    others = (states * padding[..., None]).roll(1, 0)
    return torch.where((is_misled[:, None] & padding)[..., None], others, states)


def tokenize(family: Family, pipeline: DiffusionPipeline, captions: list[str]) -> torch.Tensor:
    """Tokenize for all encoders, int64, (caption, encoder, position)."""
    tokenizers = [getattr(pipeline, name) for name in family.tokenizers]
    ids = [
        tokenizer(
            captions, padding="max_length", max_length=CLIP_LENGTH, return_tensors="pt"
        ).input_ids
        for tokenizer in tokenizers
    ]
    return torch.stack(ids, dim=1)


def show(pipeline: Any, guidance: float, path: Path) -> None:
    """Generate pictures for captions that training never sees, and tell how many are right."""
    contents = scenes.held_out()[:SHEET_PROMPTS]
    captions = [scenes.caption(content) for content in contents]
    pictures = pipeline(
        captions,
        num_inference_steps=SHEET_STEPS,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(captions))],
    ).images
    pictures = [np.asarray(picture) for picture in pictures]
    draw_sheet(pictures, captions, path)
    rates = {
        name: sum(map(sum, rows)) / sum(map(len, rows))
        for name, rows in tally(judge_all(contents, pictures)).items()
    }
    print(path.stem, *(f"{name} {rate:.2f}" for name, rate in rates.items()), file=sys.stderr)
