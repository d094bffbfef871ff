"""A tiny Wan 2.1: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

from attn.demo.tokenizers import t5_tokenizer
from attn.demo.untrained.networks import built

UMT5_WIDTH = 20
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 12
SCHEDULE = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


def build(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = t5_tokenizer()

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": UMT5EncoderModel(encoder_config(tokenizer)),
        }

    return WanPipeline(
        scheduler=UniPCMultistepScheduler(**SCHEDULE),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> WanTransformer3DModel:
    """Return two blocks of self- and cross-attention, on patches of 2 x 2 latent pixels."""
    return WanTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=UMT5_WIDTH,
        freq_dim=16,
        ffn_dim=24,
        num_layers=2,
    )


def vae() -> AutoencoderKLWan:
    """Return four levels: a latent pixel is 8 x 8 pixels, and 4 frames but for the first."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[2.0, 1.5, 2.5, 1.0],
    )


def encoder_config(tokenizer: T5Tokenizer) -> UMT5Config:
    """Return two layers of 5 heads of 4, each with its own table of distances."""
    return UMT5Config(
        vocab_size=len(tokenizer),
        d_model=UMT5_WIDTH,
        d_kv=4,
        d_ff=24,
        num_layers=2,
        num_heads=5,
        feed_forward_proj="gated-gelu",
    )
