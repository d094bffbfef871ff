"""Stable Diffusion 1.x and 2.x, which have the same pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline

from attn import demo
from attn.backends.families.unet import LATENTS, UNetBackend, UNetOptions, UNetSession
from attn.backends.loading.family import (
    CLIP_H,
    CLIP_L,
    UNET,
    VAE,
    Family,
    Joint,
    SourceOptions,
)
from attn.demo.untrained import sd2
from attn.schema import Request

TEXT = Joint("unet", "cross_attention_dim", "hidden_size", ("text_encoder",))


@dataclass(frozen=True)
class SD15Options(UNetOptions, SourceOptions):
    """Options of SD1.x."""


class SD15Session(UNetSession):
    """A loaded SD1.x pipeline."""

    default_guidance = 7.5
    lora_families: ClassVar[tuple[str, ...]] = ("sd15", "sd2")

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the options that the pipeline takes; see `UNetSession`."""
        encoder = self.pipe.text_encoder
        if self.options.clip_skip is not None and not hasattr(encoder, "text_model"):
            # diffusers 0.42 looks there for the last norm; transformers 5.6 took that level out
            object.__setattr__(encoder, "text_model", encoder)
        return super().extra_arguments(requests)


class SD15Backend(UNetBackend):
    """Stable Diffusion 1.x."""

    Options: ClassVar[type[Any]] = SD15Options
    variants: ClassVar[tuple[str, ...]] = ("inpainting",)
    example_prompt = demo.example_prompt("sd15")
    family = Family(
        "sd15",
        (UNET, VAE, CLIP_L),
        config="sd15",
        joints=(TEXT, LATENTS),
        repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    )
    pipelines = (StableDiffusionPipeline, StableDiffusionInpaintPipeline)
    session = SD15Session
    extra: ClassVar = {"requires_safety_checker": False}


@dataclass(frozen=True)
class SD2Options(UNetOptions):
    """Options of SD2.x."""

    clip_h: str | None = field(
        default=None, metadata={"help": "text encoder CLIP-H (OpenCLIP): file or folder"}
    )


class SD2Session(SD15Session):
    """A loaded SD2.x pipeline."""

    lora_families = ("sd2",)


class SD2Backend(SD15Backend):
    """Stable Diffusion 2.x."""

    Options = SD2Options
    variants = ()
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "sd2",
        (UNET, VAE, CLIP_H),
        config="sd2",
        joints=(TEXT, LATENTS),
        repository="stabilityai/stable-diffusion-2-1",
    )
    session = SD2Session

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return sd2.build(dtype, weights=weights)
