"""Stable Diffusion XL."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.lora_kinds import LoraKind

FAMILY = FamilyFiles(
    name="sdxl",
    parts=("unet", "vae", "clip_l", "clip_g"),
    pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline"),
    levels=3,
    loras=(
        LoraKind(
            "sdxl",
            "Stable Diffusion XL",
            claims=r"sdxl|stable-diffusion-xl",
            context=2048,
            signs=(
                (r"(?:label_emb|add_embedding)_", "the picture's size is an input"),
                (r".*_transformer_blocks_[1-9]", "several transformer blocks at one place"),
                (r"text_encoder_2\Z", "two text encoders"),
            ),
            guesses=(
                (r"(?:input|output)_blocks_", "blocks named as sd-scripts names those of SDXL"),
            ),
        ),
    ),
)
