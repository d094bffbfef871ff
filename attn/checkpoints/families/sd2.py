"""Stable Diffusion 2.x: the UNet of 1.x, which reads OpenCLIP's ViT-H."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.lora_kinds import LoraKind

FAMILY = FamilyFiles(
    name="sd2",
    parts=("unet", "vae", "clip_h"),
    unet={"use_linear_projection": True, "addition_embed_type": None},
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    tokenizers={
        "clip_h": [
            (f"stabilityai/stable-diffusion-{name}", "tokenizer")
            for name in ("2-1", "2-1-base", "2", "2-base")
        ]
    },
    levels=4,
    loras=(
        LoraKind(
            "sd2",
            "Stable Diffusion 2.x",
            claims=r"sd_v2|stable-diffusion-v?2",
            context=1024,
            encoder=1024,
        ),
    ),
)
