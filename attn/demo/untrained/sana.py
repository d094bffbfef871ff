"""A tiny Sana: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

from attn.demo.tokenizers import gemma_tokenizer
from attn.demo.untrained.networks import built

GEMMA_WIDTH = 20
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 4, 6
CROSS_HEADS, CROSS_HEAD_DIM = 3, 8
SCHEDULE = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


def build(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = gemma_tokenizer()

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": Gemma2Model(encoder_config(tokenizer)),
        }

    return SanaPipeline(
        scheduler=DPMSolverMultistepScheduler(**SCHEDULE),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> SanaTransformer2DModel:
    """Return two blocks of linear self-attention and of cross-attention."""
    return SanaTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        num_layers=2,
        num_cross_attention_heads=CROSS_HEADS,
        cross_attention_head_dim=CROSS_HEAD_DIM,
        cross_attention_dim=HEADS * HEAD_DIM,
        caption_channels=GEMMA_WIDTH,
        sample_size=8,
    )


def vae() -> AutoencoderDC:
    """Return six levels: a latent pixel is 32 x 32 pixels."""
    channels = (4, 4, 4, 4, 8, 8)
    each = {
        "block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        "block_out_channels": channels,
        "layers_per_block": (1,) * len(channels),
        "qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    }
    sides = {
        f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in each.items()
    }
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        attention_head_dim=4,
        **sides,
        upsample_block_type="interpolate",
        downsample_block_type="conv",
        scaling_factor=0.41407,
    )


def encoder_config(tokenizer: GemmaTokenizer) -> Gemma2Config:
    """Return two layers of 2 heads of 6 over one head of keys."""
    return Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=GEMMA_WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
    )
