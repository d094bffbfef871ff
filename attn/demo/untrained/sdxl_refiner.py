"""A tiny refiner of Stable Diffusion XL: the real classes and structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModelWithProjection

from attn.demo.networks import TIME_WIDTH
from attn.demo.text_encoders import CLIP_G_WIDTH, clip_g_config
from attn.demo.tokenizers import clip_tokenizer
from attn.demo.untrained.networks import BETAS, built, kl_vae

NUM_TIME_IDS = 5
"""Original size, crop corner, and how beautiful the picture is to be."""


def build(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = clip_tokenizer(pad="!")

    def networks() -> dict[str, Any]:
        return {
            "unet": unet(),
            "vae": kl_vae(scaling_factor=0.13025),
            "text_encoder_2": CLIPTextModelWithProjection(clip_g_config(tokenizer)),
        }

    return StableDiffusionXLImg2ImgPipeline(
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        text_encoder=None,
        tokenizer=None,
        tokenizer_2=tokenizer,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
        **built(networks, dtype, weights=weights),
    )


def unet() -> UNet2DConditionModel:
    """Return heads of 8 on the grids /2 and /4 of four levels."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=(
            *("DownBlock2D", "CrossAttnDownBlock2D"),
            *("CrossAttnDownBlock2D", "DownBlock2D"),
        ),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 24, 24),
        layers_per_block=1,
        attention_head_dim=(1, 2, 3, 3),
        transformer_layers_per_block=(1, 1, 2, 2),
        use_linear_projection=True,
        cross_attention_dim=CLIP_G_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=NUM_TIME_IDS * TIME_WIDTH + CLIP_G_WIDTH,
        norm_num_groups=4,
    )
