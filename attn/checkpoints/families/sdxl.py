"""Stable Diffusion XL."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles, LoraKind

FAMILY = FamilyFiles(
    name="sdxl",
    parts=("unet", "vae", "clip_l", "clip_g"),
    pipelines=("StableDiffusionXLPipeline",),
    levels=3,
    loras=(LoraKind("sdxl", "Stable Diffusion XL", claims=r"sdxl|stable-diffusion-xl"),),
)
