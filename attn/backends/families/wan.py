"""Wan 2.1: text to video, in blocks that read the video, then the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean

from attn import demo
from attn.backends.diffusers import DiffusersBackend, DiffusersSession, Recipe, VideoSession
from attn.backends.diffusers.texts.tokens import TypedText, follow
from attn.backends.families.cross import CrossSession
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.backends.types import Session
from attn.checkpoints import folders
from attn.demo.untrained import wan as untrained
from attn.errors import ModelError, RequestError
from attn.schema import Request, Segment
from attn.wording import cut

SECOND, BOUNDARY = "transformer_2", "boundary_ratio"
"""What a model with two networks has, and where the second takes over."""
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


class WanSession(VideoSession, CrossSession):
    """A loaded Wan. Padding of the text is not masked: it is read as vectors of zeros."""

    stack = "blocks"
    encoders: ClassVar = {"umt5": ("",)}
    lora_families = ("wan",)
    guidance = "calls"
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

    def complete(self, request: Request) -> Request:
        """Also check the option; see `Session.complete`."""
        if not 1 <= self.options.umt5_tokens <= LONGEST:
            raise RequestError(
                f"umt5_tokens must be 1 to {LONGEST}; got {self.options.umt5_tokens}"
            )
        return super().complete(request)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `umt5`, with its padding."""
        return (Segment("umt5", "text", 0, self.options.umt5_tokens),)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.umt5_tokens}


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
    """Wan 2.1 text-to-video."""

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

    def pipeline_class(self, folder: Path) -> type[Any]:
        """Also refuse a folder with a second network; see `DiffusersBackend.pipeline_class`."""
        cls = super().pipeline_class(folder)
        index = folders.read_index(folder)
        _require_single(index.get(SECOND) not in (None, [None, None]), index.get(BOUNDARY))
        return cls

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Refuse a second network; draw a small video of the demo by default.

        Raises:
            ModelError: there is one.
        """
        pipe = session.pipe
        _require_single(pipe.transformer_2 is not None, pipe.config.boundary_ratio)
        if isinstance(session, WanSession) and session.info.source == "demo":
            session.default_size, session.default_frames, session.default_fps = (96, 64), 9, 8.0
        return session


def _require_single(has_second: bool, boundary: object) -> None:
    """Refuse a model of whose steps some run in another network."""
    if has_second or boundary is not None:
        raise ModelError(
            "this model has two networks, one for the noisier steps and one for the others, as "
            "Wan 2.2 A14B has; this backend runs models with one: take Wan 2.1, or call the "
            "pipeline yourself and record each network with attn.tap"
        )
