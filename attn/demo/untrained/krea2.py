"""A tiny Krea 2 Raw: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Krea2Pipeline, Krea2Transformer2DModel
from transformers import Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLModel

from attn.demo.tokenizers import QWEN_SYSTEM, qwen_tokenizer
from attn.demo.untrained.networks import built
from attn.demo.untrained.qwen_image import LATENT_CHANNELS, vae

QWEN_WIDTH, QWEN_LAYERS = 20, 4
READ = (0, 2, 3)
"""Layers of the text encoder whose states are fused; 0 is its embedding."""
HEADS, KEY_HEADS, HEAD_DIM = 6, 2, 8
SCHEDULE = {"use_dynamic_shifting": True, "max_image_seq_len": 6400}


def build(dtype: torch.dtype, *, weights: bool = True, distilled: bool = False) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights, but for the norms, which stay float32.
        weights: False leaves the networks on the meta device.
        distilled: whether it is said to be Turbo.
    """
    tokenizer = qwen_tokenizer(tuple(QWEN_SYSTEM.replace(",", "").replace(":", "").split()))

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": Qwen3VLModel(encoder_config(tokenizer)),
        }

    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULE),
        tokenizer=tokenizer,
        text_encoder_select_layers=READ,
        is_distilled=distilled,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> Krea2Transformer2DModel:
    """Return two blocks of one stream, and one of each kind that fuses the text."""
    return Krea2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,  # packed two by two
        num_layers=2,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        intermediate_size=56,
        timestep_embed_dim=16,
        text_hidden_dim=QWEN_WIDTH,
        num_text_layers=len(READ),
        text_num_attention_heads=5,
        text_num_key_value_heads=5,
        text_intermediate_size=28,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(2, 2, 4),
    )


def encoder_config(tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """Return layers of 2 heads of 12 over one head of keys, and the least that sees."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": QWEN_WIDTH,
            "intermediate_size": 24,
            "num_hidden_layers": QWEN_LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 12,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_interleaved": True,
                "mrope_section": [2, 2, 2],
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 8,
            "intermediate_size": 12,
            "num_heads": 2,
            "out_hidden_size": QWEN_WIDTH,
            "num_position_embeddings": 9,
            "deepstack_visual_indexes": [0],
        },
    )
