"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles, LoraKind

FAMILY = FamilyFiles(
    name="sd35",
    parts=("dit", "vae", "clip_l", "clip_g", "t5xxl"),
    optional=("t5xxl",),
    pipelines=("StableDiffusion3Pipeline",),
    loras=(
        LoraKind("sd35", "Stable Diffusion 3.x", claims=r"sd3|stable-diffusion-3", is_joint=True),
    ),
)
