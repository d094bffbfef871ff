"""The two model shapes that the speed and memory figures are about, with random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from attn import demo
from attn.backends.types import Session

PROMPT = "a red cat sitting on a wooden chair in a garden"


def sd3(layers: int = 6) -> Session:
    """SD3.5-shaped: `layers` joint blocks, 24 heads of 64; 512x512 gives 1024 + 333 tokens."""
    from diffusers import SD3Transformer2DModel

    from attn.backends.families.sd35 import SD35Backend

    pipe = _pipeline("sd35")
    width = pipe.transformer.config.joint_attention_dim
    pooled = pipe.transformer.config.pooled_projection_dim
    torch.manual_seed(0)
    pipe.transformer = SD3Transformer2DModel(
        sample_size=64,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=width,
        caption_projection_dim=24 * 64,
        pooled_projection_dim=pooled,
        pos_embed_max_size=96,
        qk_norm="rms_norm",
    ).eval()
    return _open(SD35Backend(), pipe)


def sdxl() -> Session:
    """SDXL-shaped: all 70 cross-attention layers on narrow channels."""
    from diffusers import UNet2DConditionModel

    from attn.backends.families.sdxl import SDXLBackend

    pipe = _pipeline("sdxl")
    config = pipe.unet.config
    torch.manual_seed(0)
    pipe.unet = UNet2DConditionModel(
        block_out_channels=(64, 128, 256),
        layers_per_block=2,
        sample_size=64,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=config.addition_time_embed_dim,
        projection_class_embeddings_input_dim=config.projection_class_embeddings_input_dim,
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=config.cross_attention_dim,
        norm_num_groups=8,
    ).eval()
    return _open(SDXLBackend(), pipe)


def _pipeline(name: str) -> Any:
    from diffusers import DiffusionPipeline

    with tempfile.TemporaryDirectory() as folder:
        demo.build(f"tiny:{name}", Path(folder))
        pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _open(backend: Any, pipe: Any) -> Session:
    session: Session = backend.open(pipe, backend.Options())
    return session
