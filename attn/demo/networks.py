"""Toy networks with the structure of the published ones.

Heads, layers and widths differ wherever the libraries allow it, so that two swapped axes cannot go
unnoticed. Head sizes are multiples of 8, which fused kernels ask for. CLIP-L and CLIP-G differ in
width, because loaders of single files tell them apart by it; T5 is at least as wide as both
together, because SD3 pads their joined states to the width of T5.
"""
# diffusers imports its classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-any-return, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTokenizer, T5Config, T5Tokenizer

from attn.demo.tokenizers import CLIP_LENGTH

LATENT_SIZE = 32  # 256 x 256 pixels
CLIP_L_WIDTH = 32
CLIP_G_WIDTH = 48
T5_WIDTH = 96
TIME_WIDTH = 8
NUM_TIME_IDS = 6  # SDXL: original size, crop corner, target size

HINT_CHANNELS = (8, 16, 24, 32)
"""Of the stages by which a ControlNet reads the drawing; each but the last halves its sides."""

SHAPES_LATENT_SIZE = 16  # 128 x 128 pixels
SHAPES_CLIP_L_WIDTH = 64
SHAPES_CLIP_G_WIDTH = 96
SHAPES_T5_WIDTH = 176


def sd15_unet() -> UNet2DConditionModel:
    """11 cross-attention layers of 4 heads on grids /1, /2, /4; head sizes 8, 16, 24."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64, 96),
        attention_head_dim=4,  # the number of heads: a misnomer that the published configs share
        cross_attention_dim=CLIP_L_WIDTH,
        norm_num_groups=8,
    )


def sdxl_unet() -> UNet2DConditionModel:
    """17 cross-attention layers: 2 heads of 16 on grid /2, 3 heads of 24 on grid /4."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
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


def shapes_unet() -> UNet2DConditionModel:
    """7 cross-attention layers: heads of 16 on the latent grid (2), grid /2 (4) and grid /4 (6).

    Unlike in SDXL, the full grid has cross-attention too: with pictures this small, /2 is coarse.
    """
    return UNet2DConditionModel(
        sample_size=SHAPES_LATENT_SIZE,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        attention_head_dim=(2, 4, 6),  # the number of heads
        transformer_layers_per_block=1,
        use_linear_projection=True,
        cross_attention_dim=SHAPES_CLIP_L_WIDTH + SHAPES_CLIP_G_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=NUM_TIME_IDS * TIME_WIDTH + SHAPES_CLIP_G_WIDTH,
        norm_num_groups=8,
    )


def shapes_tokens_unet() -> UNet2DConditionModel:
    """The same in the layout of SD1.x: for one text encoder, without what SDXL is told of sizes."""
    return UNet2DConditionModel.from_config(
        dict(shapes_unet().config)
        | {
            "use_linear_projection": False,
            "cross_attention_dim": SHAPES_CLIP_L_WIDTH,
            "addition_embed_type": None,
            "addition_time_embed_dim": None,
            "projection_class_embeddings_input_dim": None,
        }
    )


def shapes_large() -> SD3Transformer2DModel:
    """4 joint layers of 4 heads of 32."""
    return _shapes_transformer(())


def shapes_medium() -> SD3Transformer2DModel:
    """The same; as in Medium, the first half has a second attention."""
    return _shapes_transformer((0, 1))


def shapes_coarse() -> SD3Transformer2DModel:
    """The same as large, with tokens of 2 x 2 latent pixels, as published: 8 x 8 of them."""
    return _shapes_transformer((), patch=2)


def _shapes_transformer(dual_layers: tuple[int, ...], *, patch: int = 1) -> SD3Transformer2DModel:
    """Unlike in SD3, a token is one latent pixel: of larger ones an object covers two or three."""
    return SD3Transformer2DModel(
        sample_size=SHAPES_LATENT_SIZE,
        patch_size=patch,
        in_channels=4,
        out_channels=4,
        num_layers=4,
        num_attention_heads=4,
        attention_head_dim=32,
        caption_projection_dim=4 * 32,
        joint_attention_dim=SHAPES_T5_WIDTH,
        pooled_projection_dim=SHAPES_CLIP_L_WIDTH + SHAPES_CLIP_G_WIDTH,
        pos_embed_max_size=24,
        dual_attention_layers=dual_layers,
        qk_norm="rms_norm",
    )


def shapes_vae() -> AutoencoderKL:
    """Four levels, so that a latent pixel is 8 x 8 pixels; scaled like SDXL's.

    Groups of 4 to 16 channels, as in SDXL: smaller ones normalise the background's colour away. All
    models of the shapes world share it; its shift is for SD3's pipeline, which asks for one.
    """
    channels = (8, 16, 32, 32)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SHAPES_LATENT_SIZE * 8,
        scaling_factor=0.13025,
        shift_factor=0.0,
    )


def shapes_clip_l_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """2 layers of 4 heads of 16; the denoiser reads the output of the first."""
    return _clip(tokenizer, width=SHAPES_CLIP_L_WIDTH, heads=4, layers=2, activation="quick_gelu")


def shapes_clip_g_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """3 layers of 6 heads of 16; the denoiser reads the second's output, and the pooled last."""
    return _clip(tokenizer, width=SHAPES_CLIP_G_WIDTH, heads=6, layers=3, activation="gelu")


def clip_l_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """3 layers of 2 heads of 16."""
    return _clip(tokenizer, width=CLIP_L_WIDTH, heads=2, layers=3, activation="quick_gelu")


def clip_g_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """4 layers of 3 heads of 16."""
    return _clip(tokenizer, width=CLIP_G_WIDTH, heads=3, layers=4, activation="gelu")


def _clip(
    tokenizer: CLIPTokenizer, *, width: int, heads: int, layers: int, activation: str
) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 4,
        projection_dim=width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def shapes_t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """2 layers of 5 heads of 16."""
    return _t5(tokenizer, width=SHAPES_T5_WIDTH, heads=5, head_size=16, inner=256)


def t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """2 layers of 6 heads of 8: unlike in CLIP, heads need not fill the width."""
    return _t5(tokenizer, width=T5_WIDTH, heads=6, head_size=8, inner=128)


def _t5(tokenizer: T5Tokenizer, *, width: int, heads: int, head_size: int, inner: int) -> T5Config:
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=head_size,
        d_ff=inner,
        num_layers=2,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
