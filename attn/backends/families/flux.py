"""FLUX.1: a transformer of double- and single-stream blocks over one sequence, text first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from diffusers import FluxPipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, JointSession
from attn.backends.loading.family import CLIP_L, DIT, VAE, Family, Joint, Part, SourceOptions
from attn.backends.types import ModelInfo
from attn.demo.untrained import flux as untrained
from attn.errors import RequestError
from attn.schema import Request, Segment

LONGEST, SCHNELL_LONGEST = 512, 256
"""Positions of T5 that the two models were trained with."""


@dataclass(frozen=True)
class FluxOptions(SourceOptions):
    """Options of FLUX.1."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    t5xxl: str | None = field(
        default=None, metadata={"help": "text encoder T5-XXL: file or folder"}
    )
    t5_tokens: int | None = field(
        default=None,
        metadata={"help": "positions of T5 (1 to 512); none: 512, schnell 256"},
    )
    true_cfg: float = field(
        default=1.0,
        metadata={"help": "classifier-free guidance against --negative; 1 is off"},
    )


class FluxSession(JointSession):
    """A loaded FLUX.1. The sequence of every layer is `t5`, then the packed picture."""

    stacks = ("transformer_blocks", "single_transformer_blocks")
    lora_families = ("flux",)
    lora_towers: ClassVar = {"text_encoder_3": "text_encoder_2"}  # as kohya counts them
    encoders: ClassVar = {"t5": ("_2",)}  # CLIP gives one vector, which nothing attends to
    guidance = "calls"
    concept_stream = "transformer_blocks"
    custom_sigmas = True
    unread_negative = (
        "the negative prompt is not read: this model's guidance is distilled; "
        "--set true_cfg=4 runs classifier-free guidance"
    )

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        super().__init__(pipe, info, options, device)
        self.default_steps = 28 if self.is_guided else 4
        self.default_guidance = 3.5 if self.is_guided else 0.0

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image, which is two by two latent pixels."""
        return 2 * int(self.pipe.vae_scale_factor)

    @property
    def is_guided(self) -> bool:
        """Whether guidance is an input of the model: dev and Krea, not schnell."""
        return bool(self.model.config.guidance_embeds)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    def complete(self, request: Request) -> Request:
        """Check the options, and leave out the guidance that schnell does not take."""
        tokens, strength = self.options.t5_tokens, self.options.true_cfg
        if tokens is not None and not 1 <= tokens <= LONGEST:
            raise RequestError(f"t5_tokens must be 1 to {LONGEST}; got {tokens}")
        if not 1 <= strength < float("inf"):
            raise RequestError(f"true_cfg must be a number from 1 on; got {strength:g}")
        return super().complete(request if self.is_guided else replace(request, guidance=None))

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of guidance that schnell does not take; see `Session.remarks`."""
        usual = super().remarks(request, completed)
        if self.is_guided or not request.guidance:
            return usual
        return ("this model takes no guidance (schnell); --guidance is not used", *usual)

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with classifier-free guidance."""
        return ("cond", "uncond") if self.options.true_cfg > 1 else ("cond",)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `t5`, with which the sequence begins."""
        longest = LONGEST if self.is_guided else SCHNELL_LONGEST
        return (Segment("t5", "text", 0, self.options.t5_tokens or longest),)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text, and the guidance that is not distilled."""
        (text,) = self.text_segments(requests[0])
        return {"true_cfg_scale": self.options.true_cfg, "max_sequence_length": text.length}


class FluxBackend(DiffusersBackend):
    """FLUX.1 dev, schnell and Krea."""

    Options = FluxOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "flux",
        (DIT, VAE, CLIP_L, Part("t5xxl", "text_encoder_2", "tokenizer_2")),
        config="flux-dev",
        joints=(
            Joint("transformer", "joint_attention_dim", "d_model", ("text_encoder_2",)),
            Joint("transformer", "pooled_projection_dim", "hidden_size", ("text_encoder",)),
            Joint("transformer", "in_channels", "latent_channels", ("vae",), times=4),
        ),
        repository="black-forest-labs/FLUX.1-dev",
    )
    pipelines = (FluxPipeline,)
    session = FluxSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
