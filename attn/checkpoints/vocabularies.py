"""Published repositories that hold the tokenizers of CLIP and T5, which many models share."""

from __future__ import annotations

SD3 = (
    "stabilityai/stable-diffusion-3.5-large",
    "stabilityai/stable-diffusion-3.5-medium",
    "stabilityai/stable-diffusion-3.5-large-turbo",
    "stabilityai/stable-diffusion-3-medium-diffusers",
)
SDXL = ("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo")
FLUX = ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell")
SD15 = ("stable-diffusion-v1-5/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5")
PUBLISHED = {
    "clip_l": [
        *((name, "tokenizer") for name in (*SD15, *SDXL, *SD3, *FLUX)),
        ("openai/clip-vit-large-patch14", ""),
    ],
    "clip_g": [(name, "tokenizer_2") for name in (*SDXL, *SD3)],
    "t5xxl": [
        *((name, "tokenizer_3") for name in SD3),
        *((name, "tokenizer_2") for name in FLUX),
    ],
}
"""Repositories, and the folder in each, by the part of a model that reads its tokens."""
