"""FLUX.2 klein: double- and single-stream blocks over one sequence, a chat model's text first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from diffusers import Flux2KleinPipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, JointSession, Template, chat
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.backends.types import ModelInfo
from attn.demo.untrained import flux2 as untrained
from attn.errors import RequestError
from attn.schema import UNCOND, Request, Segment

SHORTEST, LONGEST = 16, 512
"""Positions of the text: what Qwen3 makes of padding fills it up, and is attended to."""
STATES = 3
"""Layers of the text encoder whose states are given to the denoiser side by side."""


@dataclass(frozen=True)
class Flux2Options(ModelOptions):
    """Options of FLUX.2 klein."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    qwen3: str | None = field(
        default=None, metadata={"help": "text encoder Qwen3 (4B or 8B): file or folder"}
    )
    qwen3_tokens: int = field(
        default=LONGEST, metadata={"help": "positions of the text (16 to 512)"}
    )


class Flux2Session(JointSession):
    """A loaded FLUX.2 klein. The sequence of every layer is the text, then the packed image."""

    stacks = ("transformer_blocks", "single_transformer_blocks")
    lora_families = ("flux2",)
    encoders: ClassVar = {"qwen3": ("",)}
    guidance = "calls"
    custom_sigmas = True
    unread_negative = "the negative prompt is not read: FLUX.2 klein is guided by an empty one"

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        super().__init__(pipe, info, options, device)
        self.default_steps = 4 if self.is_distilled else 50
        self.default_guidance = 1.0 if self.is_distilled else 4.0

    @property
    def templates(self) -> Mapping[str, Template]:  # type: ignore[override]
        """A user's turn of a chat, without thinking, and room for the padding behind it."""
        length = self.options.qwen3_tokens
        return {"qwen3": Template(chat(thinking=False), longest=length, multiple=length)}

    @property
    def is_distilled(self) -> bool:
        """Whether it is the model of few steps, which takes no guidance; else klein base."""
        return bool(self.pipe.config.is_distilled)

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image, which is two by two latent pixels."""
        return 2 * int(self.pipe.vae_scale_factor)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with guidance, which the distilled model does not take."""
        return ("cond",) if self.is_distilled else super().branches(request)

    def complete(self, request: Request) -> Request:
        """Check the option, and leave out what the pipeline does not take."""
        if not SHORTEST <= self.options.qwen3_tokens <= LONGEST:
            raise RequestError(
                f"qwen3_tokens must be {SHORTEST} to {LONGEST}; got {self.options.qwen3_tokens}"
            )
        guidance = None if self.is_distilled else request.guidance
        return super().complete(replace(request, negative=None, guidance=guidance))

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of a negative prompt and of guidance that are not read."""
        told = [self.unread_negative] if request.negative else []
        if self.is_distilled and request.guidance not in (None, 1.0):
            told.append("this model takes no guidance (it is distilled); --guidance is not used")
        return (*told, *super().remarks(request, completed))

    def branch_text(self, request: Request, branch: str) -> str | None:
        """Return the prompt, or the empty text of `uncond`."""
        return "" if branch == UNCOND else request.prompt

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the prompt in its template."""
        return tuple(part for part in self.leading_segments(request) if part.kind == "text")

    def leading_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the text, and the padding that fills it up."""
        return self.templated_segments(request, 0)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.qwen3_tokens}

    def pipeline_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return all arguments but the negative prompt, which the pipeline does not take."""
        arguments = super().pipeline_arguments(requests)
        return {name: value for name, value in arguments.items() if name != "negative_prompt"}


class Flux2Backend(DiffusersBackend):
    """FLUX.2 klein 4B and 9B, distilled and base."""

    Options = Flux2Options
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "flux2",
        (DIT, VAE, Part("qwen3", "text_encoder", "tokenizer", tokens=LONGEST)),
        config="flux2-klein-4b",
        joints=(
            Joint("transformer", "joint_attention_dim", "hidden_size", ("text_encoder",), STATES),
            Joint("transformer", "in_channels", "latent_channels", ("vae",), times=4),
        ),
        repository="black-forest-labs/FLUX.2-klein-4B",
    )
    pipelines = (Flux2KleinPipeline,)
    session = Flux2Session

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
