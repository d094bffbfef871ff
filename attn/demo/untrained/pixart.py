"""A tiny PixArt: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
from transformers import T5EncoderModel

from attn.demo.tokenizers import t5_tokenizer
from attn.demo.untrained.networks import built, t5_config, vae

T5_WIDTH = 40
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8


def build(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the pipeline of PixArt-Σ; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = t5_tokenizer()

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(latent_channels=LATENT_CHANNELS, scaling_factor=0.13025, shift_factor=None),
            "text_encoder": T5EncoderModel(t5_config(tokenizer, width=T5_WIDTH)),
        }

    return PixArtSigmaPipeline(
        scheduler=DPMSolverMultistepScheduler(),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> PixArtTransformer2DModel:
    """Return two blocks of self- and cross-attention."""
    return PixArtTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        cross_attention_dim=HEADS * HEAD_DIM,
        num_layers=2,
        in_channels=LATENT_CHANNELS,
        out_channels=2 * LATENT_CHANNELS,
        sample_size=8,
        caption_channels=T5_WIDTH,
        interpolation_scale=1,
        use_additional_conditions=False,
    )
