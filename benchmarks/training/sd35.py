"""What is particular to SD3.5: three encoders in one sequence, and the flow as target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero
from safetensors.torch import load_file

from attn.demo import shapes_networks, shipped, trained
from benchmarks.training.denoiser import (
    NO_CAPTION,
    NO_SUMMARY,
    Family,
    draw_shares,
    is_padding,
    mislead,
)

CLIP = shipped.WEIGHTS / "sdxl"
"""Whose CLIP encoders are taken over."""
BASE = shipped.WEIGHTS / "sd35"
"""The large model, whose encoders all have, and which the others go on from."""
DENOISER = "transformer"
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
T5_LENGTHS = (16, 256)
"""Positions of T5: enough for the longest caption, and what the pipeline asks for by default.

Nothing masks the padding, of which the long one has 240 tokens more: a model must have learned to
pass over them. But a step with the long one costs more than twice as much."""
LONG = 1 / 16
"""Share of the steps with the long sequence."""
ONE_READER = 0.5
"""Share of examples that only one of CLIP and T5 reads, the other is zeros, so that the words of
both mean something. The published models were trained so too, with each encoder left out in 46 %
(Esser et al. 2024, https://arxiv.org/abs/2403.03206)."""


def begin_words(pipeline: StableDiffusion3Pipeline) -> None:
    """Begin with CLIP encoders that the SDXL demo has trained, and a coarse transformer.

    Published models share their encoders too. The encoders learn with it in half of the time that
    they would take with the fine one.
    """
    pipeline.transformer = shapes_networks.transformer((), patch=2)
    pipeline.text_encoder_3.eval()  # dropout's draws would differ after a restart
    _begin(pipeline)
    parts = {"text_encoder": pipeline.text_encoder.text_model}  # SDXL has no projection of CLIP-L
    trained.fill(parts | {"text_encoder_2": pipeline.text_encoder_2}, CLIP)


def begin(pipeline: StableDiffusion3Pipeline) -> None:
    """Begin with encoders that ship."""
    _begin(pipeline)
    _take_encoders(pipeline)


def _begin(pipeline: StableDiffusion3Pipeline) -> None:
    """Make blocks that change nothing: adaLN-Zero of Peebles & Xie 2022.

    Source: https://arxiv.org/abs/2212.09748.
    """
    modulated = (AdaLayerNormZero, AdaLayerNormContinuous)
    norms = [each for each in pipeline.transformer.modules() if isinstance(each, modulated)]
    for linear in (pipeline.transformer.proj_out, *(norm.linear for norm in norms)):
        linear.weight.zero_()
        linear.bias.zero_()


def _take_encoders(pipeline: StableDiffusion3Pipeline) -> None:
    """Fill in the encoders that ship, which are not trained any more."""
    encoders = {name: getattr(pipeline, name) for name in ENCODERS}
    trained.fill(encoders, BASE)
    for encoder in encoders.values():
        encoder.requires_grad_(False)


def go_on(pipeline: StableDiffusion3Pipeline) -> None:
    """Begin where the large model ended.

    The second attention of a block begins at random, and its modulation, behind that of the first
    in the same layer, with zeros: so the first prediction is that of the large model.
    """
    _take_encoders(pipeline)
    state = load_file(BASE / f"{DENOISER}.safetensors")
    for name, parameter in pipeline.transformer.named_parameters():
        if name in state:
            parameter.zero_()
            parameter[: len(state[name])] = state[name]


def read(
    pipeline: StableDiffusion3Pipeline,
    ids: torch.Tensor,
    empty: torch.Tensor,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Read captions; see `Family.read`. The pipeline encodes a missing negative prompt as ""."""
    number = len(ids)
    ids[draw_shares(rng, number) < NO_CAPTION] = empty
    t5_ids = resize(pipeline, ids[:, 2], T5_LENGTHS[int(rng.random() < LONG)])
    states, pooled = encode(pipeline, ids, t5_ids)
    reader = draw_shares(rng, number).to(ids.device)
    has_clip, has_t5 = reader > ONE_READER / 2, reader < 1 - ONE_READER / 2
    is_misled = (draw_shares(rng, number) < NO_SUMMARY).to(ids.device)
    clip = is_padding(ids[:, 0], pipeline.tokenizer.eos_token_id)
    t5 = is_padding(t5_ids, pipeline.tokenizer_3.eos_token_id)
    heard = torch.cat([has_clip[:, None].expand_as(clip), has_t5[:, None].expand_as(t5)], dim=1)
    states = mislead(states, torch.cat([clip, t5], dim=1), is_misled)
    has_summary = has_clip & (draw_shares(rng, number) > NO_SUMMARY).to(ids.device)
    return {
        "encoder_hidden_states": states * heard[..., None],
        "pooled_projections": pooled * has_summary[:, None],
    }


def mix(
    latents: torch.Tensor, noise: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Go from the picture towards noise; the target is the flow. See `Family.mix`.

    Times are shifted as the scheduler shifts them when it generates.
    """
    even = torch.from_numpy(rng.random(len(latents))).to(latents)
    sigma = trained.SHIFT * even / (1 + (trained.SHIFT - 1) * even)
    noisy = torch.lerp(latents, noise, sigma[:, None, None, None])
    return noisy, 1000 * sigma, noise - latents


def encode(
    pipeline: StableDiffusion3Pipeline, ids: torch.Tensor, t5_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode captions as the pipeline does, but with gradients.

    Args:
        pipeline: whose text encoders.
        ids: (caption, encoder, position), of which CLIP's are read.
        t5_ids: (caption, position).

    Returns:
        States of CLIP and behind them of T5, (caption, position, channel), and pooled captions,
        (caption, channel).
    """
    first = pipeline.text_encoder(ids[:, 0], output_hidden_states=True)
    second = pipeline.text_encoder_2(ids[:, 1], output_hidden_states=True)
    third = pipeline.text_encoder_3(t5_ids).last_hidden_state
    clip = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    clip = torch.nn.functional.pad(clip, (0, third.shape[-1] - clip.shape[-1]))
    pooled = torch.cat([first.text_embeds, second.text_embeds], dim=-1)
    return torch.cat([clip, third], dim=1), pooled


def resize(pipeline: StableDiffusion3Pipeline, ids: torch.Tensor, length: int) -> torch.Tensor:
    """Cut or lengthen T5's padding until each caption has `length` positions."""
    padding = pipeline.tokenizer_3.pad_token_id
    return torch.nn.functional.pad(ids, (0, length - ids.shape[-1]), value=padding)


LARGE = Family(
    name="sd35",
    models=(DENOISER,),
    tokenizers=("tokenizer", "tokenizer_2", "tokenizer_3"),
    prepare=begin,
    read=read,
    mix=mix,
    steps=13000,
    batch=24,
    rate=1.5e-3,
    guidance=3.0,
    precision=torch.bfloat16,
)
WORDS = replace(
    LARGE,
    models=(DENOISER, *ENCODERS),
    prepare=begin_words,
    steps=8000,
    precision=torch.float32,
)
"""For its encoders: its transformer is thrown away."""
MEDIUM = replace(
    LARGE,
    name="sd35-medium",
    prepare=go_on,
    steps=1000,
    rate=5e-4,
    learns=r"\.[01]\.(attn2|norm1)\.",
)
"""It differs from the large model by its second attention and the modulation of those blocks."""
