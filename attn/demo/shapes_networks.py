"""Networks that are trained on the shapes world."""

# diffusers imports its classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-any-return, no-untyped-call"

from __future__ import annotations

from diffusers import (
    AutoencoderKL,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)

from attn.demo.networks import NUM_TIME_IDS, TIME_WIDTH
from attn.demo.text_encoders import SHAPES_CLIP_G_WIDTH, SHAPES_CLIP_L_WIDTH, SHAPES_T5_WIDTH

LATENT_SIZE = 16  # 128 x 128 pixels


def unet() -> UNet2DConditionModel:
    """7 cross-attention layers: heads of 16 on the latent grid (2), grid /2 (4) and grid /4 (6).

    Unlike in SDXL, the full grid has cross-attention too: with pictures this small, /2 is coarse.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
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


def tokens_unet() -> UNet2DConditionModel:
    """The same in the layout of SD1.x: for one text encoder, without what SDXL is told of sizes."""
    return UNet2DConditionModel.from_config(
        dict(unet().config)
        | {
            "use_linear_projection": False,
            "cross_attention_dim": SHAPES_CLIP_L_WIDTH,
            "addition_embed_type": None,
            "addition_time_embed_dim": None,
            "projection_class_embeddings_input_dim": None,
        }
    )


def large() -> SD3Transformer2DModel:
    """4 joint layers of 4 heads of 32."""
    return transformer(())


def medium() -> SD3Transformer2DModel:
    """The same; as in Medium, the first half has a second attention."""
    return transformer((0, 1))


def transformer(dual_layers: tuple[int, ...], *, patch: int = 1) -> SD3Transformer2DModel:
    """Unlike in SD3, a token is one latent pixel: of larger ones an object covers two or three."""
    return SD3Transformer2DModel(
        sample_size=LATENT_SIZE,
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


def vae() -> AutoencoderKL:
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
        sample_size=LATENT_SIZE * 8,
        scaling_factor=0.13025,
        shift_factor=0.0,
    )
