"""Wan 2.1 and 2.2: text to video, in blocks that read the video, then the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import nn

from attn import demo
from attn.backends.diffusers import DiffusersBackend, DiffusersSession, Recipe, VideoSession
from attn.backends.diffusers.texts.tokens import TypedText, follow
from attn.backends.families.cross import CrossSession
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.backends.types import Session
from attn.demo.untrained import wan as untrained
from attn.errors import ModelError, RequestError
from attn.schema import Request, Segment
from attn.wording import cut

SECOND = "denoiser_2"
"""Name of the tower that runs at the last noise levels, where a model has two."""
SHOWN = 60
"""Characters of a prompt in a message."""
LONGEST = 512
"""Positions of UMT5 that the model was trained with."""


@dataclass(frozen=True)
class WanOptions(ModelOptions):
    """Options of Wan."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    umt5xxl: str | None = field(
        default=None, metadata={"help": "text encoder UMT5-XXL: file or folder"}
    )
    umt5_tokens: int = field(default=LONGEST, metadata={"help": "positions of UMT5 (1 to 512)"})
    guidance_2: float | None = field(
        default=None,
        metadata={"help": "guidance in the second network, of models with two; none: as the first"},
    )


class WanSession(VideoSession, CrossSession):
    """A loaded Wan. Padding of the text is not masked: it is read as vectors of zeros."""

    stack = "blocks"
    encoders: ClassVar = {"umt5": ("",)}
    lora_families = ("wan",)
    guidance = "calls"
    takes_turns = True
    default_steps = 50
    default_guidance = 5.0
    default_frames = 81
    default_fps = 16.0
    default_size = (832, 480)

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token, which is two by two latent pixels."""
        return int(self.pipe.vae_scale_factor_spatial * self.model.config.patch_size[1])

    @property
    def longest(self) -> int:  # type: ignore[override]
        """Frames of latents for which there are positions."""
        return int(self.model.config.rope_max_seq_len)

    @property
    def converter(self) -> Any:
        """What the pipeline makes of a prompt: entities of HTML and odd spaces become plain."""
        return _clean

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the denoiser, and that of the last noise levels where there are two."""
        second = self.pipe.transformer_2
        return {**super().towers(), **({} if second is None else {SECOND: second})}

    def complete(self, request: Request) -> Request:
        """Also check the options, and that LoRAs have one network; see `Session.complete`."""
        has_second = SECOND in self.towers()
        if self.options.guidance_2 is not None and not has_second:
            raise RequestError("guidance_2 is of models with two networks; leave it out")
        if request.loras and has_second:
            raise RequestError(
                "LoRAs of models with two networks are made for one of them each, and which is not "
                "told by the file: leave lora out, or take a model with one"
            )
        if not 1 <= self.options.umt5_tokens <= LONGEST:
            raise RequestError(
                f"umt5_tokens must be 1 to {LONGEST}; got {self.options.umt5_tokens}"
            )
        return super().complete(request)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `umt5`, with its padding."""
        return (Segment("umt5", "text", 0, self.options.umt5_tokens),)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text, and what the second network is guided with."""
        length = {"max_sequence_length": self.options.umt5_tokens}
        second = self.options.guidance_2
        return length | ({} if second is None else {"guidance_scale_2": second})


def _clean(prompt: str, tokenizer: Any) -> str:
    """Return a prompt as the pipeline cleans it, word by word.

    Raises:
        RequestError: it has other words then.
    """
    cleaned = follow(prompt, prompt_clean(str(prompt)))
    if isinstance(prompt, TypedText) and not isinstance(cleaned, TypedText):
        raise RequestError(
            f"the pipeline reads the prompt {cut(prompt, SHOWN)!r} as {cut(cleaned, SHOWN)!r}, "
            "with more or fewer words: type it as it is read"
        )
    return cleaned


class WanBackend(DiffusersBackend):
    """Wan 2.1 and 2.2 text-to-video."""

    Options = WanOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "wan",
        (DIT, VAE, Part("umt5xxl", "text_encoder", "tokenizer", tokens=LONGEST)),
        config="wan2.1-t2v-1.3b",
        joints=(
            Joint("transformer", "text_dim", "d_model", ("text_encoder",)),
            Joint("transformer", "in_channels", "z_dim", ("vae",)),
        ),
        repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    )
    pipelines = (WanPipeline,)
    session = WanSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Refuse half of two networks; draw a small video of the demo by default.

        Raises:
            ModelError: one is missing, or where the second takes over.
        """
        pipe = session.pipe
        halves = pipe.transformer_2 is not None, pipe.config.boundary_ratio is not None
        if pipe.transformer is None or len({*halves}) > 1:
            raise ModelError(
                "this pipeline has half of two networks: expected transformer alone, or "
                "transformer, transformer_2 and boundary_ratio, as Wan 2.2 A14B has; load it whole"
            )
        if isinstance(session, WanSession) and session.info.source == "demo":
            session.default_size, session.default_frames, session.default_fps = (96, 64), 9, 8.0
        return session
