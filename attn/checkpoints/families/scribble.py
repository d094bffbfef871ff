"""Stable Diffusion with a drawing: the models of SD 1.x and XL, and a ControlNet."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles

FAMILY = FamilyFiles(
    name="scribble",
    pipelines=("StableDiffusionControlNetPipeline", "StableDiffusionXLControlNetPipeline"),
)
