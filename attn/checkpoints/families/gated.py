"""Stable Diffusion 3.5 with gates on its attention, from sd-scripts."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles

FAMILY = FamilyFiles(
    name="gated",
    parts=("dit", "vae", "clip_l", "clip_g", "t5xxl"),
    optional=("t5xxl",),
    base="sd35",
)
