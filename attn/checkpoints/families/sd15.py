"""Stable Diffusion 1.x."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.lora_kinds import LoraKind

FAMILY = FamilyFiles(
    name="sd15",
    parts=("unet", "vae", "clip_l"),
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    levels=4,
    loras=(
        LoraKind(
            "sd15",
            "Stable Diffusion 1.x",
            claims=r"sd_v1|sd1|stable-diffusion-v?1",
            context=768,
            guesses=(
                (
                    r"(?:down_blocks_0_attentions|input_blocks_[12]_1)_",
                    "attention on the first grid",
                ),
                (
                    r"(?:up_blocks_3_attentions|output_blocks_(?:9|10|11)_1)_",
                    "twelve output blocks",
                ),
            ),
            encoder=768,
        ),
    ),
)
