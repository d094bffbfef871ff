"""Chroma: the double- and single-stream blocks of FLUX.1, with T5 alone and real guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import ChromaPipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, JointSession
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.demo.untrained import chroma as untrained
from attn.errors import RequestError
from attn.schema import Request, Segment

LONGEST = 512
"""Positions of T5 that the model was trained with."""


@dataclass(frozen=True)
class ChromaOptions(ModelOptions):
    """Options of Chroma."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    t5xxl: str | None = field(
        default=None, metadata={"help": "text encoder T5-XXL: file or folder"}
    )
    t5_tokens: int = field(default=LONGEST, metadata={"help": "positions of T5 (1 to 512)"})


class ChromaSession(JointSession):
    """A loaded Chroma. The sequence of every layer is `t5`, then the packed image."""

    stacks = ("transformer_blocks", "single_transformer_blocks")
    lora_families = ("chroma", "flux")  # whose blocks have the same modules
    lora_towers: ClassVar = {"text_encoder_3": "text_encoder"}  # T5, as kohya counts encoders
    encoders: ClassVar = {"t5": ("",)}
    guidance = "calls"
    custom_sigmas = True
    default_steps = 35
    default_guidance = 5.0

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image, which is two by two latent pixels."""
        return 2 * int(self.pipe.vae_scale_factor)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    def complete(self, request: Request) -> Request:
        """Also check the option; see `Session.complete`."""
        if not 1 <= self.options.t5_tokens <= LONGEST:
            raise RequestError(f"t5_tokens must be 1 to {LONGEST}; got {self.options.t5_tokens}")
        return super().complete(request)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `t5`, with which the sequence begins."""
        return (Segment("t5", "text", 0, self.options.t5_tokens),)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.t5_tokens}


class ChromaBackend(DiffusersBackend):
    """Chroma1."""

    Options = ChromaOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "chroma",
        (DIT, VAE, Part("t5xxl", "text_encoder", "tokenizer")),
        config="chroma1",
        joints=(
            Joint("transformer", "joint_attention_dim", "d_model", ("text_encoder",)),
            Joint("transformer", "in_channels", "latent_channels", ("vae",), times=4),
        ),
        repository="lodestones/Chroma1-HD",
    )
    pipelines = (ChromaPipeline,)
    session = ChromaSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
