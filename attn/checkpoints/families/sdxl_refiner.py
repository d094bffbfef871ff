"""The refiner of Stable Diffusion XL, which reads CLIP-G alone."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.lora_kinds import LoraKind

FAMILY = FamilyFiles(
    name="sdxl-refiner",
    parts=("unet", "vae", "clip_g"),
    pipelines=("StableDiffusionXLImg2ImgPipeline",),
    tokenizers={"clip_g": [("stabilityai/stable-diffusion-xl-refiner-1.0", "tokenizer_2")]},
    levels=4,
    loras=(LoraKind("sdxl-refiner", "Stable Diffusion XL refiner", context=1280),),
)
