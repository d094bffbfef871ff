"""Stable Diffusion XL, and its refiner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import (
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

from attn import demo
from attn.backends.families.unet import LATENTS, UNetBackend, UNetOptions, UNetSession
from attn.backends.loading.family import (
    CLIP_G,
    CLIP_L,
    UNET,
    VAE,
    Family,
    Joint,
    SourceOptions,
)
from attn.demo.untrained import sdxl_refiner
from attn.schema import Request, Segment


@dataclass(frozen=True)
class RefinerOptions(UNetOptions):
    """Options of the refiner."""

    clip_g: str | None = field(
        default=None, metadata={"help": "text encoder CLIP-G: file or folder"}
    )


@dataclass(frozen=True)
class SDXLOptions(RefinerOptions, SourceOptions):
    """Options of SDXL."""


class SDXLSession(UNetSession):
    """A loaded SDXL pipeline."""

    default_guidance = 5.0
    lora_families = ("sdxl",)

    @property
    def zeroes_uncond(self) -> bool:
        """Whether zeros stand in for a negative prompt of None; see `DiffusersSession`."""
        return bool(self.pipe.config.get("force_zeros_for_empty_prompt"))


class SDXLBackend(UNetBackend):
    """Stable Diffusion XL."""

    Options = SDXLOptions
    variants = ("inpainting",)
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
    pipelines = (StableDiffusionXLPipeline, StableDiffusionXLInpaintPipeline)
    session = SDXLSession
    extra: ClassVar = {"add_watermarker": False}


class RefinerSession(SDXLSession):
    """The loaded refiner, which reads CLIP-G alone and draws a picture further."""

    encoders: ClassVar = {"clip": ("_2",)}
    lora_families = ("sdxl-refiner",)

    @property
    def needed_picture(self) -> str:  # type: ignore[override]
        """A picture, always."""
        return super().needed_picture or "picture"

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the one segment `clip`."""
        return (Segment("clip", "text", 0, self.pipe.tokenizer_2.model_max_length),)


class RefinerBackend(UNetBackend):
    """The refiner of Stable Diffusion XL."""

    Options = RefinerOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "sdxl-refiner",
        (UNET, VAE, CLIP_G),
        config="sdxl-refiner",
        joints=(
            Joint("unet", "cross_attention_dim", "hidden_size", ("text_encoder_2",)),
            LATENTS,
        ),
        repository="stabilityai/stable-diffusion-xl-refiner-1.0",
    )
    pipelines = (StableDiffusionXLImg2ImgPipeline,)
    session = RefinerSession
    extra: ClassVar = {"add_watermarker": False}

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return sdxl_refiner.build(dtype, weights=weights)
