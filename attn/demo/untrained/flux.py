"""A tiny FLUX.1: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, T5EncoderModel

from attn.demo.text_encoders import CLIP_L_WIDTH, clip_l_config
from attn.demo.tokenizers import clip_tokenizer, t5_tokenizer
from attn.demo.untrained.networks import built, t5_config, vae

T5_WIDTH = 40
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8


def build(dtype: torch.dtype, *, weights: bool = True, guided: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
        guided: whether guidance is an input (dev) or not (schnell).
    """
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(guided=guided),
            "vae": vae(latent_channels=LATENT_CHANNELS, scaling_factor=0.3611, shift_factor=0.1159),
            "text_encoder": CLIPTextModel(clip_l_config(tokenizer)),
            "text_encoder_2": T5EncoderModel(t5_config(tokenizer_2, width=T5_WIDTH)),
        }

    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guided),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        **built(networks, dtype, weights=weights),
    )


def transformer(*, guided: bool) -> FluxTransformer2DModel:
    """Return one double-stream and two single-stream blocks."""
    return FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,  # packed two by two
        num_layers=1,
        num_single_layers=2,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_L_WIDTH,
        guidance_embeds=guided,
        axes_dims_rope=(2, 2, 4),
    )
