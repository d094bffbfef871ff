"""A tiny FLUX.2 klein base: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen3ForCausalLM

from attn.demo.tokenizers import qwen_tokenizer
from attn.demo.untrained.networks import built, qwen3_config

QWEN_WIDTH, QWEN_LAYERS = 12, 27
"""The pipeline reads the states behind layers 9, 18 and 27."""
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8


def build(dtype: torch.dtype, *, weights: bool = True, distilled: bool = False) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
        distilled: whether it is said to be the model of few steps.
    """
    tokenizer = qwen_tokenizer()

    def networks() -> dict[str, Any]:
        config = qwen3_config(tokenizer, width=QWEN_WIDTH, layers=QWEN_LAYERS)
        return {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": Qwen3ForCausalLM(config),
        }

    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=tokenizer,
        is_distilled=distilled,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> Flux2Transformer2DModel:
    """Return one double-stream and two single-stream blocks."""
    return Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,  # packed two by two
        num_layers=1,
        num_single_layers=2,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        joint_attention_dim=3 * QWEN_WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )


def vae() -> AutoencoderKLFlux2:
    """Return four levels: a latent pixel is 8 x 8 pixels."""
    channels = (4, 4, 8, 8)
    return AutoencoderKLFlux2(
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
    )
