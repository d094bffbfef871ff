"""A tiny Stable Diffusion 2.x: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from attn.demo.text_encoders import CLIP_G_WIDTH, clip_g_config
from attn.demo.tokenizers import clip_tokenizer
from attn.demo.untrained.networks import BETAS, built, kl_vae

SCHEDULE = {"clip_sample": False, "set_alpha_to_one": False, "prediction_type": "v_prediction"}


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
            "vae": kl_vae(scaling_factor=0.18215),
            "text_encoder": CLIPTextModel(clip_g_config(tokenizer)),
        }

    return StableDiffusionPipeline(
        scheduler=DDIMScheduler(**BETAS, **SCHEDULE),
        tokenizer=tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **built(networks, dtype, weights=weights),
    )


def unet() -> UNet2DConditionModel:
    """Return heads of 8 on the grids /1 and /2, entered by linear layers."""
    return UNet2DConditionModel(
        sample_size=12,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 24, 32),
        layers_per_block=1,
        attention_head_dim=(2, 3, 4),
        use_linear_projection=True,
        cross_attention_dim=CLIP_G_WIDTH,
        norm_num_groups=4,
    )
