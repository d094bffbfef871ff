"""The demo model that reads a drawing as tokens, in the layout of ScribbleDiffusion.

Its UNet begins as that of the demo's SDXL. It learns to do with one of the two text encoders, and
to read the drawing, together with that encoder and the drawing's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler

from attn import demo
from attn.backends.families.scribble.sketch_tokens import SketchEncoder, as_drawings
from attn.demo import drawn as checkpoint
from attn.demo import judge, rendering, scenes, text_encoders, trained
from attn.demo.tokenizers import CLIP_LENGTH
from benchmarks.demo.score_demo import judge_all, tally
from benchmarks.training import control, denoiser, sdxl
from benchmarks.training.control import Examples
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet

STEPS = 2500
BATCH = 24
RATE = 1e-3
SKETCH_SIZE = 256
STAGES, HIDDEN = (16, 32, 64), 48
"""Of the encoder, a quarter and a fifth of the published one's."""

NOTHING, NO_TEXT, NO_DRAWING = 0.1, 0.3, 0.1
"""Shares of examples without text and drawing, for guidance; without text; without drawing."""
FEW = 500
"""Drawings that tell how the encoder's features vary before training."""
SHEET, SHEET_STEPS = 16, 20
SCHEDULER = DDPMScheduler(**trained.TOKENS_NOISE)


@dataclass(frozen=True, eq=False)
class Student:
    """What is trained, apart from the VAE.

    Attributes:
        pipeline: SD1.x around the UNet.
        encoder: of the drawing.
    """

    pipeline: Any
    encoder: SketchEncoder

    def models(self) -> dict[str, torch.nn.Module]:
        """Return what learns, under the names of the files that ship."""
        return {
            "unet": self.pipeline.unet,
            "text_encoder": self.pipeline.text_encoder,
            checkpoint.ENCODER: self.encoder,
        }


def build(base: Any, examples: Examples) -> Student:
    """Return what is trained as it is before, the same every time.

    Args:
        base: the demo's SDXL, whose weights it begins with where there is a place for them.
        examples: whose first drawings tell how the encoder's features vary.
    """
    return Student(build_pipeline(base), build_encoder(examples))


def build_pipeline(base: Any) -> Any:
    """Return the pipeline before training; see `build`."""
    torch.manual_seed(0)
    pipeline: Any = trained.PIPELINES["scribble-tokens"]()
    pipeline.vae = base.vae
    with torch.no_grad():
        pipeline.unet.load_state_dict(take_unet(base))
        pipeline.text_encoder.load_state_dict(base.text_encoder.state_dict())
        # SDXL reads what enters the last layer, this model what leaves it: at first the same
        last = pipeline.text_encoder.encoder.layers[-1]
        for linear in (last.self_attn.out_proj, last.mlp.fc2):
            linear.weight.zero_()
            linear.bias.zero_()
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(base.device)


@torch.no_grad()
def take_unet(base: Any) -> dict[str, torch.Tensor]:
    """Return the weights of SDXL's UNet for one of SD1.x that reads the first text encoder alone.

    Projections are convolutions of one pixel there. What the UNet is told of size, and of a missing
    summary, is always the same, and goes into the bias of what it is told of time.
    """
    width = base.text_encoder.config.hidden_size
    state = {
        name: value
        for name, value in base.unet.state_dict().items()
        if not name.startswith("add_embedding.")
    }
    for name, value in state.items():
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            state[name] = value[:, :width]
        elif name.endswith(("proj_in.weight", "proj_out.weight")):
            state[name] = value[..., None, None]
    times = base.unet.add_time_proj(sdxl.time_ids(base, 1).flatten()).reshape(1, -1)
    summary = times.new_zeros(1, base.text_encoder_2.config.projection_dim)
    always = base.unet.add_embedding(torch.cat([summary, times], -1))[0]
    name = "time_embedding.linear_2.bias"
    return state | {name: state[name] + always}


@torch.no_grad()
def build_encoder(examples: Examples) -> SketchEncoder:
    """Return the drawing's encoder before training; see `build`.

    Lines are a small part of a drawing, and the means over all places that the encoder takes nearly
    the same for all. So the first convolution sees edges alone, nothing in even grounds, and what
    differs between drawings is brought to unit variance.
    """
    torch.manual_seed(0)
    encoder = SketchEncoder(HIDDEN, CLIP_LENGTH, text_encoders.SHAPES_CLIP_L_WIDTH, STAGES)
    for layer in encoder.conv_encoder[::2]:
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    edges = encoder.conv_encoder[0].weight
    edges.copy_(edges - edges.mean((2, 3), keepdim=True))
    torch.nn.init.normal_(encoder.pos_embeddings, std=0.5)
    encoder.to(examples.latents.device)
    drawings = read_outlines(examples.outlines[:FEW])
    pooled = encoder.conv_encoder(drawings).mean((2, 3))
    values, directions = torch.linalg.eigh(torch.cov(pooled.T))
    whiten = (directions / values.clamp(min=1e-4 * values[-1]).sqrt()).T
    first = encoder.to_tokens[0]
    torch.nn.init.normal_(first.weight, std=HIDDEN**-0.5)
    first.weight.copy_(first.weight @ whiten)
    first.bias.copy_(-first.weight @ pooled.mean(0))
    return encoder


def read_outlines(outlines: torch.Tensor) -> torch.Tensor:
    """Return packed outlines as `attn capture` gives them to the encoder, black on white."""
    lines = control.unpack(outlines)[:, 0].to(outlines.device)
    return as_drawings(list(1 - lines), SKETCH_SIZE)


def stage(student: Student, average: Student, examples: Examples, *, steps: int) -> Stage:
    """Describe the training; the VAE stays as it is."""
    student.pipeline.vae.requires_grad_(False)
    return Stage(
        name="scribble",
        models=student.models(),
        averages=average.models(),
        loss=partial(loss, student, examples),
        show=partial(show, average),
        steps=steps,
        batch=BATCH,
        rate=RATE,
        show_every=500,
    )


def loss(
    student: Student, examples: Examples, rng: np.random.Generator, number: int
) -> torch.Tensor:
    """Squared error of the UNet's prediction, for examples and noise drawn at random."""
    rows = torch.from_numpy(rng.integers(len(examples.latents), size=number))
    latents = examples.latents[rows]
    states = read(student, examples.ids[rows, 0], examples.outlines[rows], rng)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(latents)
    times = torch.from_numpy((1000 * denoiser.draw_times(rng, number)).astype(np.int64))
    times = times.clamp(max=999).to(latents.device)
    noisy = SCHEDULER.add_noise(latents, noise, times).to(memory_format=torch.channels_last)
    predicted = student.pipeline.unet(noisy, times, states).sample
    return (predicted - SCHEDULER.get_velocity(latents, noise, times)).square().mean()


def read(
    student: Student, ids: torch.Tensor, outlines: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Return what the UNet reads, (example, token, channel), with some left out.

    Left out of both, text is zeros and the drawing zeros to the encoder, as in the row uncond. A
    drawing alone that is left out has no strokes, as with `--sketch none`.
    """
    fate = denoiser.draw_shares(rng, len(ids)).to(ids.device)
    has_nothing = fate < NOTHING
    has_text = fate > NOTHING + NO_TEXT
    is_blank = fate > 1 - NO_DRAWING
    text = encode_text(student.pipeline, ids)
    is_misled = (denoiser.draw_shares(rng, len(ids)) < denoiser.NO_SUMMARY).to(ids.device)
    padding = denoiser.is_padding(ids, student.pipeline.tokenizer.eos_token_id)
    text = denoiser.mislead(text, padding, is_misled) * has_text[:, None, None]
    drawings = read_outlines(outlines)
    drawings[is_blank] = 1
    drawings[has_nothing] = 0
    return torch.cat([text, student.encoder(drawings)], 1)


def encode_text(pipeline: Any, ids: torch.Tensor) -> torch.Tensor:
    """Encode captions as the pipeline does, but with gradients: (caption, position, channel)."""
    states: torch.Tensor = pipeline.text_encoder(ids)[0]
    return states


def show(student: Student, path: Path) -> None:
    """Generate pictures for what training never sees: text with drawing, then drawings alone.

    Tells how many are right, how many of those of a drawing alone have its shapes, and how the
    objects' sizes go with those of the drawing.
    """
    drawn = control.held_out_scenes(SHEET)
    contents = [scene.content for scene in drawn]
    captions = [scenes.caption(content) for content in contents]
    both = paint(student, drawn, captions)
    alone = paint(student, drawn, None)
    draw_sheet([*both, *alone], [*captions, *("" for _ in captions)], path)
    rates = {
        name: sum(map(sum, rows)) / sum(map(len, rows))
        for name, rows in tally(judge_all(contents, both)).items()
    }
    rates["size"] = agree_in_size(both, drawn)
    rates["drawing alone: shapes"] = float(
        np.mean([has_shapes(*item) for item in zip(alone, contents, strict=True)])
    )
    rates["size alone"] = agree_in_size(alone, drawn)
    print(path.stem, *(f"{name} {rate:.2f}" for name, rate in rates.items()), file=sys.stderr)


@torch.no_grad()
def paint(
    student: Student, drawn: Sequence[scenes.Scene], captions: list[str] | None
) -> list[np.ndarray]:
    """Generate a picture for each scene's outlines as `attn capture` does; None is no text."""
    pipeline, number = student.pipeline, len(drawn)
    device = pipeline.device
    size = pipeline.vae.config.sample_size
    lines = np.stack([np.packbits(rendering.outlines(item, size), axis=1) for item in drawn])
    sketch = student.encoder(read_outlines(torch.from_numpy(lines).to(device)))
    nothing = student.encoder(torch.zeros(number, 1, SKETCH_SIZE, SKETCH_SIZE, device=device))
    no_text = torch.zeros_like(sketch)
    text = no_text if captions is None else pipeline.encode_prompt(captions, device, 1, False)[0]
    pictures = pipeline(
        prompt_embeds=torch.cat([text, sketch], 1),
        negative_prompt_embeds=torch.cat([no_text, nothing], 1),
        num_inference_steps=SHEET_STEPS,
        guidance_scale=demo.GUIDANCE["scribble:tokens"],
        generator=[torch.Generator().manual_seed(seed) for seed in range(number)],
    ).images
    return [np.asarray(picture) for picture in pictures]


def has_shapes(picture: np.ndarray, content: scenes.Content) -> bool:
    """Whether a picture shows the shapes of a scene, each once, and nothing else."""
    result = [item.shape or "" for item in judge.find(picture).objects]
    return sorted(result) == sorted(kind.shape for kind in content.kinds)


def agree_in_size(pictures: Sequence[np.ndarray], drawn: Sequence[scenes.Scene]) -> float:
    """Correlate the part of the picture that objects cover with the part inside the outlines."""
    sizes = [sum(item.mask.mean() for item in judge.find(picture).objects) for picture in pictures]
    truths = [1 - rendering.masks(scene, SKETCH_SIZE)[-1].mean() for scene in drawn]
    return float(np.corrcoef(sizes, truths)[0, 1])
