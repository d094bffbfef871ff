"""Toy networks with the structure of the published ones.

Heads, layers and widths differ wherever the libraries allow it, so that two swapped axes cannot go
unnoticed. Head sizes are multiples of 8, which fused kernels ask for.
"""
# diffusers imports its classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-any-return, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, SD3Transformer2DModel, UNet2DConditionModel

from attn.demo.text_encoders import CLIP_G_WIDTH, CLIP_L_WIDTH, T5_WIDTH

LATENT_SIZE = 32  # 256 x 256 pixels
TIME_WIDTH = 8
NUM_TIME_IDS = 6  # SDXL: original size, crop corner, target size

HINT_CHANNELS = (8, 16, 24, 32)
"""Of the stages by which a ControlNet reads the drawing; each but the last halves its sides."""


def sd15_unet(in_channels: int = 4) -> UNet2DConditionModel:
    """11 cross-attention layers of 4 heads on grids /1, /2, /4; head sizes 8, 16, 24."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=in_channels,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64, 96),
        attention_head_dim=4,  # the number of heads: a misnomer that the published configs share
        cross_attention_dim=CLIP_L_WIDTH,
        norm_num_groups=8,
    )


def sdxl_unet(in_channels: int = 4) -> UNet2DConditionModel:
    """17 cross-attention layers: 2 heads of 16 on grid /2, 3 heads of 24 on grid /4."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=in_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32, 72),
        attention_head_dim=(1, 2, 3),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        cross_attention_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=NUM_TIME_IDS * TIME_WIDTH + CLIP_G_WIDTH,
        norm_num_groups=8,
    )


def controlnet(unet: UNet2DConditionModel, *, is_zero: bool) -> ControlNetModel:
    """The ControlNet of a UNet: a copy of its encoder and middle, and four stages for the drawing.

    Args:
        unet: whose weights it begins with.
        is_zero: whether it has no effect yet, as at the beginning of a training.
    """
    net: Any = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_CHANNELS)
    if not is_zero:
        zeros = [net.controlnet_mid_block, *net.controlnet_down_blocks]
        zeros.append(net.controlnet_cond_embedding.conv_out)
        for conv in zeros:
            torch.nn.init.normal_(conv.weight, std=0.1)
    built: ControlNetModel = net
    return built


def sd35_transformer(dual_layers: tuple[int, ...]) -> SD3Transformer2DModel:
    """5 joint layers of 3 heads of 16; two latent pixels per token and side."""
    return SD3Transformer2DModel(
        sample_size=LATENT_SIZE,
        in_channels=16,
        out_channels=16,
        num_layers=5,
        num_attention_heads=3,
        attention_head_dim=16,
        caption_projection_dim=48,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
        pos_embed_max_size=40,
        dual_attention_layers=dual_layers,
        qk_norm="rms_norm",
    )


def vae(
    *,
    scaling_factor: float,
    shift_factor: float | None = None,
    latent_channels: int = 4,
    quant_conv: bool = True,
) -> AutoencoderKL:
    """Four levels, so that a latent pixel is 8 x 8 pixels."""
    channels = (8, 16, 16, 24)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=LATENT_SIZE * 8,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv,
    )
