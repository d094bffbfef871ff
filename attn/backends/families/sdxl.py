"""Stable Diffusion XL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from diffusers import StableDiffusionXLPipeline

from attn import demo
from attn.backends.families.unet import LATENTS, UNetBackend, UNetOptions, UNetSession
from attn.backends.loading.family import CLIP_G, CLIP_L, UNET, VAE, Family, Joint


@dataclass(frozen=True)
class SDXLOptions(UNetOptions):
    """Options of SDXL."""

    clip_g: str | None = field(
        default=None, metadata={"help": "text encoder CLIP-G: file or folder"}
    )


class SDXLSession(UNetSession):
    """A loaded SDXL pipeline."""

    default_guidance = 5.0
    lora_families = ("sdxl",)

    @property
    def zeroes_uncond(self) -> bool:
        """Whether zeros stand in for a negative prompt of None; see `DiffusersSession`."""
        return bool(self.pipe.config.force_zeros_for_empty_prompt)


class SDXLBackend(UNetBackend):
    """Stable Diffusion XL."""

    Options = SDXLOptions
    example_prompt = demo.example_prompt("sdxl")
    family = Family(
        "sdxl",
        (UNET, VAE, CLIP_L, CLIP_G),
        config="sdxl",
        joints=(
            Joint("unet", "cross_attention_dim", "hidden_size", ("text_encoder", "text_encoder_2")),
            LATENTS,
        ),
        repository="stabilityai/stable-diffusion-xl-base-1.0",
    )
    pipelines = (StableDiffusionXLPipeline,)
    session = SDXLSession
    extra: ClassVar = {"add_watermarker": False}
