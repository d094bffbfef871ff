"""A tiny Chroma: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler
from transformers import T5EncoderModel

from attn.demo.tokenizers import t5_tokenizer
from attn.demo.untrained.networks import built, t5_config, vae

T5_WIDTH = 40
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8


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
            "vae": vae(latent_channels=LATENT_CHANNELS, scaling_factor=0.3611, shift_factor=0.1159),
            "text_encoder": T5EncoderModel(t5_config(tokenizer, width=T5_WIDTH)),
        }

    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> ChromaTransformer2DModel:
    """Return one double-stream and two single-stream blocks."""
    return ChromaTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,  # packed two by two
        num_layers=1,
        num_single_layers=2,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        joint_attention_dim=T5_WIDTH,
        axes_dims_rope=(2, 2, 4),
        approximator_num_channels=8,
        approximator_hidden_dim=12,
        approximator_layers=2,
    )
