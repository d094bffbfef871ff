"""What is particular to SDXL: size conditioning, and the velocity as target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionXLPipeline

from attn import demo
from attn.demo import trained
from benchmarks.training.denoiser import (
    NO_CAPTION,
    NO_SUMMARY,
    Family,
    amplify,
    draw_shares,
    draw_times,
    is_padding,
    mislead,
)

SCHEDULER = DDPMScheduler(**trained.NOISE)


def prepare(pipeline: StableDiffusionXLPipeline) -> None:
    """Make the encoders loud, and lay the UNet out in memory as convolutions like it best."""
    amplify(pipeline.text_encoder, pipeline.text_encoder_2)
    pipeline.unet.to(memory_format=torch.channels_last)


def read(
    pipeline: StableDiffusionXLPipeline,
    ids: torch.Tensor,
    empty: torch.Tensor,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Read captions; see `Family.read`.

    Of those without caption, half are as the pipeline treats a missing negative prompt, which is
    zeros, half as it treats an empty one.
    """
    number = len(ids)
    fate = draw_shares(rng, number)
    ids[fate < NO_CAPTION / 2] = empty
    states, pooled = encode(pipeline, ids)
    kept = (fate > NO_CAPTION).to(states) + (fate < NO_CAPTION / 2).to(states)
    is_misled = (draw_shares(rng, number) < NO_SUMMARY).to(ids.device)
    padding = is_padding(ids[:, 0], pipeline.tokenizer.eos_token_id)
    has_summary = (draw_shares(rng, number) > NO_SUMMARY).to(kept)
    return {
        "encoder_hidden_states": mislead(states, padding, is_misled) * kept[:, None, None],
        "added_cond_kwargs": {
            "text_embeds": pooled * (kept * has_summary)[:, None],
            "time_ids": time_ids(pipeline, number),
        },
    }


def mix(
    latents: torch.Tensor, noise: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Add noise; the target is the velocity. See `Family.mix`."""
    times = torch.from_numpy((1000 * draw_times(rng, len(latents))).astype(np.int64)).clamp(max=999)
    times = times.to(latents.device)
    noisy = SCHEDULER.add_noise(latents, noise, times).to(memory_format=torch.channels_last)
    return noisy, times, SCHEDULER.get_velocity(latents, noise, times)


def encode(
    pipeline: StableDiffusionXLPipeline, ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode captions as the pipeline does, but with gradients.

    Args:
        pipeline: whose text encoders.
        ids: (caption, encoder, position).

    Returns:
        States, (caption, position, channel), and pooled captions, (caption, channel).
    """
    first = pipeline.text_encoder(ids[:, 0], output_hidden_states=True)
    second = pipeline.text_encoder_2(ids[:, 1], output_hidden_states=True)
    states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return states, second.text_embeds


def time_ids(pipeline: StableDiffusionXLPipeline, number: int) -> torch.Tensor:
    """What the pipeline says of a picture of its usual size: original size, crop, target size."""
    size = float(pipeline.vae.config.sample_size)
    item = torch.tensor([size, size, 0.0, 0.0, size, size], device=pipeline.device)
    return item.repeat(number, 1)


FAMILY = Family(
    name="sdxl",
    models=("unet", "text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    prepare=prepare,
    read=read,
    mix=mix,
    steps=15000,
    batch=24,
    rate=1.5e-3,
    guidance=demo.GUIDANCE["sdxl"],
)
