"""A tiny Qwen-Image: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from attn.demo.tokenizers import QWEN_SYSTEM, qwen_tokenizer
from attn.demo.untrained.networks import built

QWEN_WIDTH = 20
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8
SCHEDULE = {
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
    "max_shift": 0.9,
    "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
}


def build(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = qwen_tokenizer(tuple(QWEN_SYSTEM.replace(",", "").replace(":", "").split()))

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": Qwen2_5_VLForConditionalGeneration(encoder_config(tokenizer)),
        }

    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULE),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> QwenImageTransformer2DModel:
    """Return two double-stream blocks."""
    return QwenImageTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,  # packed two by two
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        joint_attention_dim=QWEN_WIDTH,
        axes_dims_rope=(2, 2, 4),
    )


def vae() -> AutoencoderKLQwenImage:
    """Return four levels: a latent pixel is 8 x 8 pixels."""
    return AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[2.0, 1.5, 2.5, 1.0],
    )


def encoder_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """Return two layers of 2 heads of 10 over one head of keys, and the least that sees."""
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": QWEN_WIDTH,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 2, 2],
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 8,
            "intermediate_size": 12,
            "num_heads": 2,
            "out_hidden_size": QWEN_WIDTH,
            "patch_size": 14,
            "fullatt_block_indexes": [0],
        },
    )
