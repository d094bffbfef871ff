"""Published repositories that hold tokenizers, for files of models, which hold none."""

from __future__ import annotations

from attn.checkpoints.families import families

SD3 = (
    "stabilityai/stable-diffusion-3.5-large",
    "stabilityai/stable-diffusion-3.5-medium",
    "stabilityai/stable-diffusion-3.5-large-turbo",
    "stabilityai/stable-diffusion-3-medium-diffusers",
)
SDXL = ("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo")
SD15 = ("stable-diffusion-v1-5/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5")
SHARED = {
    "clip_l": [
        *((name, "tokenizer") for name in (*SD15, *SDXL, *SD3)),
        ("openai/clip-vit-large-patch14", ""),
    ],
    "clip_g": [(name, "tokenizer_2") for name in (*SDXL, *SD3)],
    "t5xxl": [(name, "tokenizer_3") for name in SD3],
}
"""Of CLIP and T5, which many models share: repositories and the folder in each, by part."""


def published(part: str) -> list[tuple[str, str]]:
    """Return the repositories with the tokenizer of a part, and the folder in each."""
    of_families = (family.tokenizers.get(part, ()) for family in families().values())
    return [*SHARED.get(part, ()), *(entry for entries in of_families for entry in entries)]
