"""A ControlNet for the demo model: outlines in, pictures out. All else stays as it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from attn.demo import judge, networks, rendering, scenes
from benchmarks.training import denoiser
from benchmarks.training.loop import Stage
from benchmarks.training.report import draw_sheet
from benchmarks.training.sdxl import FAMILY

EXAMPLES = 10_000
STEPS = 2500
RATE = 1e-3
SHEET, SHEET_STEPS = 16, 20


@dataclass(frozen=True)
class Examples:
    """Pictures with captions and outlines.

    Attributes:
        latents: scaled, (example, channel, row, column).
        ids: of the caption's tokens, (example, encoder, position).
        outlines: eight pixels of a row in a byte, (example, row, column / 8).
    """

    latents: torch.Tensor
    ids: torch.Tensor
    outlines: torch.Tensor


def build(unet: Any) -> ControlNetModel:
    """Return a ControlNet that has no effect yet; the same every time."""
    torch.manual_seed(0)
    return networks.controlnet(unet, is_zero=True).to(memory_format=torch.channels_last)


def prepare(pipeline: Any, path: Path, *, number: int = EXAMPLES) -> Examples:
    """Draw scenes, encode them, and keep them in a file for the next time."""
    if not path.exists():
        drawn: list[scenes.Scene] = []

        def draw(rng: np.random.Generator) -> scenes.Scene:
            drawn.append(denoiser.draw_scene(rng))
            return drawn[-1]

        latents, captions = denoiser.encode_scenes(pipeline.vae, number, draw)
        size = pipeline.vae.config.sample_size
        outlines = [np.packbits(rendering.outlines(scene, size), axis=1) for scene in drawn]
        examples = {
            "latents": latents.half(),
            "ids": denoiser.tokenize(FAMILY, pipeline, captions),
            "outlines": torch.from_numpy(np.stack(outlines)),
        }
        save_file(examples, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
    tensors = load_file(path, device=str(pipeline.device))
    return Examples(tensors["latents"].float(), tensors["ids"], tensors["outlines"])


def stage(
    pipeline: Any, net: ControlNetModel, average: ControlNetModel, examples: Examples, *, steps: int
) -> Stage:
    """Describe the training of `net` beside the frozen `pipeline`."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    pipeline.unet.to(memory_format=torch.channels_last)
    empty = denoiser.tokenize(FAMILY, pipeline, [""])[0].to(pipeline.device)
    return Stage(
        name="control",
        models={"controlnet": net},
        averages={"controlnet": average},
        loss=partial(loss, pipeline, net, examples, empty),
        show=partial(show, pipeline, average),
        steps=steps,
        batch=FAMILY.batch,
        rate=RATE,
        show_every=500,
    )


def loss(
    pipeline: Any,
    net: Any,
    examples: Examples,
    empty: torch.Tensor,
    rng: np.random.Generator,
    number: int,
) -> torch.Tensor:
    """Squared error of the UNet's prediction, for examples and noise drawn at random."""
    rows = torch.from_numpy(rng.integers(len(examples.latents), size=number))
    latents = examples.latents[rows]
    with torch.no_grad():
        told = FAMILY.read(pipeline, examples.ids[rows], empty, rng)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(latents)
    noisy, times, target = FAMILY.mix(latents, noise, rng)
    hint = unpack(examples.outlines[rows]).to(latents)
    down, mid = net(noisy, times, controlnet_cond=hint, return_dict=False, **told)
    predicted = pipeline.unet(
        noisy,
        times,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        **told,
    ).sample
    return (predicted - target).square().mean()


def unpack(outlines: torch.Tensor) -> torch.Tensor:
    """Return white lines on black as a ControlNet reads them: (example, 3, row, column), 0 or 1."""
    lines = torch.from_numpy(np.unpackbits(outlines.cpu().numpy(), axis=2)).float()
    return lines[:, None].expand(-1, 3, -1, -1)


def overlap(picture: np.ndarray, scene: scenes.Scene) -> float:
    """Return intersection over union of what a picture shows and what its outlines surround."""
    result = [item.mask for item in judge.find(picture).objects]
    drawn = np.any(result, axis=0) if result else np.zeros(picture.shape[:2], bool)
    truth = ~rendering.masks(scene, picture.shape[0])[-1]
    return float((drawn & truth).sum() / (drawn | truth).sum())


def show(pipeline: Any, net: ControlNetModel, path: Path) -> None:
    """Generate pictures for outlines that training never sees, and tell how well they fill them."""
    drawn = held_out_scenes(SHEET)
    controlled = StableDiffusionXLControlNetPipeline(
        **pipeline.components, controlnet=net, add_watermarker=False
    )
    controlled.set_progress_bar_config(disable=True)
    captions = [scenes.caption(scene.content) for scene in drawn]
    size = pipeline.vae.config.sample_size
    lines = [rendering.outlines(scene, size) for scene in drawn]
    pictures = controlled(
        captions,
        image=[
            Image.fromarray(np.where(item, 255, 0).astype(np.uint8)).convert("RGB")
            for item in lines
        ],
        num_inference_steps=SHEET_STEPS,
        guidance_scale=FAMILY.guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(drawn))],
    ).images
    painted = [np.asarray(picture) for picture in pictures]
    both = [
        np.where(item[..., None], 255 - picture, picture)
        for item, picture in zip(lines, painted, strict=True)
    ]
    draw_sheet(both, captions, path)
    scores = [overlap(picture, scene) for picture, scene in zip(painted, drawn, strict=True)]
    print(f"overlap with the outlines: {np.mean(scores):.2f}", file=sys.stderr)


def held_out_scenes(number: int) -> Sequence[scenes.Scene]:
    """Arrange the first held-out captions, each as its place in the list says."""
    return [
        scenes.arrange(content, np.random.default_rng(seed))
        for seed, content in enumerate(scenes.held_out()[:number])
    ]
