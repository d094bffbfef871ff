"""Stable Diffusion 1.x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from diffusers import StableDiffusionPipeline

from attn import demo
from attn.backends.families.unet import LATENTS, UNetBackend, UNetOptions, UNetSession
from attn.backends.loading.family import CLIP_L, UNET, VAE, Family, Joint
from attn.schema import Request


class SD15Session(UNetSession):
    """A loaded SD1.x pipeline."""

    default_guidance = 7.5
    lora_families = ("sd15", "sd2")

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the options that the pipeline takes; see `UNetSession`."""
        encoder = self.pipe.text_encoder
        if self.options.clip_skip is not None and not hasattr(encoder, "text_model"):
            # diffusers 0.42 looks there for the last norm; transformers 5.6 took that level out
            object.__setattr__(encoder, "text_model", encoder)
        return super().extra_arguments(requests)


class SD15Backend(UNetBackend):
    """Stable Diffusion 1.x."""

    Options = UNetOptions
    example_prompt = demo.example_prompt("sd15")
    family = Family(
        "sd15",
        (UNET, VAE, CLIP_L),
        config="sd15",
        joints=(Joint("unet", "cross_attention_dim", "hidden_size", ("text_encoder",)), LATENTS),
        repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    )
    pipelines = (StableDiffusionPipeline,)
    session = SD15Session
    extra: ClassVar = {"requires_safety_checker": False}
