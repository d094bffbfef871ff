"""Transformers whose blocks attend to the picture, then to the text: a declaration for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Literal

import torch
from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, DiffusersSession
from attn.backends.diffusers.concepts import cross_modules
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.demo.untrained import pixart
from attn.errors import RequestError
from attn.schema import Grid, Layer, LayerKey, Request, Segment

Kind = Literal["self", "cross"]


class CrossSession(DiffusersSession):
    """A loaded pipeline; every block reads the picture in one module, the text in another."""

    denoiser = "transformer"
    stack: ClassVar[str] = "transformer_blocks"
    """The denoiser's list of blocks."""
    modules: ClassVar[tuple[tuple[str, Kind], ...]] = (("attn1", "self"), ("attn2", "cross"))
    """Attention modules of a block whose softmax is captured, with their kind, as they run."""

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the picture."""
        return int(self.pipe.vae_scale_factor * self.model.config.patch_size)

    def grid(self, request: Request) -> Grid:
        """Return rows and columns of the picture's tokens."""
        return (request.height or 0) // self.multiple, (request.width or 0) // self.multiple

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the modules of every block in turn."""
        grid = self.grid(request)
        image = (Segment("image", "image", 0, prod(grid), grid),)
        keys: dict[Kind, tuple[Segment, ...]] = {
            "self": image,
            "cross": self.text_segments(request),
        }
        located = [
            (tower, f"{self.stack}.{number}.{name}", getattr(block, name), kind)
            for tower, model in self.towers().items()
            for number, block in enumerate(getattr(model, self.stack))
            for name, kind in self.modules
        ]
        return tuple(
            Layer(
                index=index,
                tower=tower,
                path=path,
                kind=kind,
                num_heads=module.heads,
                queries=image,
                keys=keys[kind],
                head_dim=module.inner_dim // module.heads,
            )
            for index, (tower, path, module, kind) in enumerate(located)
        )


T5XXL = Part("t5xxl", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class PixArtOptions(ModelOptions):
    """Options of PixArt."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    t5xxl: str | None = field(
        default=None, metadata={"help": "text encoder T5-XXL: file or folder"}
    )
    t5_tokens: int | None = field(
        default=None,
        metadata={"help": "positions of T5 (1 to 512); none: 300, PixArt-α 120"},
    )


class PixArtSession(CrossSession):
    """A loaded PixArt-Σ or -α, which reads prompts in small letters."""

    encoders: ClassVar = {"t5": ("",)}
    lora_families = ("pixart",)
    lora_towers: ClassVar = {"text_encoder_3": "text_encoder"}  # T5, as kohya counts encoders
    default_steps = 20
    default_guidance = 4.5
    longest = 512
    lengths: ClassVar = {PixArtSigmaPipeline: 300, PixArtAlphaPipeline: 120}

    @property
    def converter(self) -> Any:
        """What the pipeline makes of a prompt when it does not clean it."""
        return lambda text, tokenizer: text.lower().strip()

    def complete(self, request: Request) -> Request:
        """Also check the option; see `Session.complete`."""
        tokens = self.options.t5_tokens
        if tokens is not None and not 1 <= tokens <= self.longest:
            raise RequestError(f"t5_tokens must be 1 to {self.longest}; got {tokens}")
        return super().complete(request)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `t5`, whose padding is masked."""
        length = self.options.t5_tokens or self.lengths[type(self.pipe)]
        return (Segment("t5", "text", 0, length),)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Take prompts and sizes as they were asked for."""
        (text,) = self.text_segments(requests[0])
        return {
            "clean_caption": False,
            "use_resolution_binning": False,
            "max_sequence_length": text.length,
        }

    def concept_modules(self, request: Request) -> dict[LayerKey, str]:
        """Return the modules that read the text."""
        return cross_modules(self.layers(request))

    def project_concepts(self, states: torch.Tensor) -> torch.Tensor:
        """Return states as blocks read them; see `DiffusersSession.project_concepts`."""
        projected: torch.Tensor = self.model.caption_projection(states)
        return projected


class PixArtBackend(DiffusersBackend):
    """PixArt-Σ and -α."""

    Options = PixArtOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "pixart",
        (DIT, VAE, T5XXL),
        config="pixart-sigma",
        joints=(
            Joint("transformer", "caption_channels", "d_model", ("text_encoder",)),
            Joint("transformer", "in_channels", "latent_channels", ("vae",)),
        ),
        repository="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    )
    pipelines = (PixArtSigmaPipeline, PixArtAlphaPipeline)
    session = PixArtSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return pixart.build(dtype, weights=weights)
