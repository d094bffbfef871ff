"""Stable Diffusion 1.x, whose UNet takes LoRAs of 2.x too where they fit."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles, LoraKind

FAMILY = FamilyFiles(
    name="sd15",
    parts=("unet", "vae", "clip_l"),
    pipelines=("StableDiffusionPipeline",),
    levels=4,
    loras=(
        LoraKind("sd15", "Stable Diffusion 1.x", claims=r"sd_v1|sd1|stable-diffusion-v?1"),
        LoraKind("sd2", "Stable Diffusion 2.x", claims=r"sd_v2|stable-diffusion-v?2"),
    ),
)
