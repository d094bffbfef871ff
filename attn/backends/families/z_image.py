"""Z-Image: one stream of picture and text, picture first, after refiners of each alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from diffusers import ZImagePipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, JointSession, Template, chat
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.backends.types import ModelInfo
from attn.demo.untrained import z_image as untrained
from attn.schema import Layer, Request, Segment

MULTIPLE = 32
"""Learned vectors fill picture and text up to a multiple of so many positions."""
LONGEST = 512
"""Tokens that the pipeline gives the text encoder."""
TURBO_SHIFT = 3.0
"""Of the sampler's noise levels, in Turbo; models that are not distilled have 6."""
PARTS = {"noise_refiner": ("image",), "context_refiner": ("text",), "layers": ("image", "text")}
"""What the blocks of each stack read, in the order in which they run."""


@dataclass(frozen=True)
class ZImageOptions(ModelOptions):
    """Options of Z-Image."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    qwen3: str | None = field(
        default=None, metadata={"help": "text encoder Qwen3-4B: file or folder"}
    )


class ZImageSession(JointSession):
    """A loaded Z-Image or Z-Image-Turbo."""

    lora_families = ("z-image",)
    encoders: ClassVar = {"qwen3": ("",)}
    templates: ClassVar = {
        "qwen3": Template(chat(thinking=True), longest=LONGEST, multiple=MULTIPLE)
    }
    guidance = "cond first"
    custom_sigmas = True

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        super().__init__(pipe, info, options, device)
        is_turbo = pipe.scheduler.config.shift <= TURBO_SHIFT
        self.default_steps = 9 if is_turbo else 50
        self.default_guidance = 0.0 if is_turbo else 4.0

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image, which is two by two latent pixels."""
        return 2 * int(self.pipe.vae_scale_factor)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return 1024

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with guidance, which begins at 0 in this pipeline."""
        return ("cond", "uncond") if request.guidance and request.guidance > 0 else ("cond",)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the prompt in its template, which follows the picture."""
        return tuple(segment for segment in self.segments(request) if segment.kind == "text")

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the refiners of the picture, those of the text, and the blocks of both."""
        sides = self._sides(request)
        read = [
            (f"{stack}.{number}.attention", len(names) > 1, _joined(sides, names))
            for stack, names in PARTS.items()
            for number in range(len(getattr(self.model, stack)))
        ]
        return tuple(
            Layer(
                index=index,
                tower="denoiser",
                path=path,
                kind="joint" if is_joint else "self",
                num_heads=self.model.config.n_heads,
                queries=segments,
                keys=segments,
                head_dim=self.model.config.dim // self.model.config.n_heads,
            )
            for index, (path, is_joint, segments) in enumerate(read)
        )

    def segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the whole sequence of a completed request: the image, then the text."""
        return _joined(self._sides(request), ("image", "text"))

    def _sides(self, request: Request) -> dict[str, tuple[Segment, ...]]:
        """Return picture and text, each with what fills it up, from position 0 on."""
        grid = self.grid(request)
        count = grid[0] * grid[1]
        image: tuple[Segment, ...] = (Segment("image", "image", 0, count, grid),)
        if filling := -count % MULTIPLE:
            image += (Segment("image_padding", "padding", count, count + filling),)
        return {"image": image, "text": self.templated_segments(request, 0)}


def _joined(sides: dict[str, tuple[Segment, ...]], names: tuple[str, ...]) -> tuple[Segment, ...]:
    """Return the segments of sides, one behind the other."""
    joined: tuple[Segment, ...] = ()
    for name in names:
        at = joined[-1].stop if joined else 0
        joined += tuple(replace(of, start=of.start + at, stop=of.stop + at) for of in sides[name])
    return joined


class ZImageBackend(DiffusersBackend):
    """Z-Image and Z-Image-Turbo."""

    Options = ZImageOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "z-image",
        (DIT, VAE, Part("qwen3", "text_encoder", "tokenizer", tokens=LONGEST)),
        config="z-image-turbo",
        joints=(
            Joint("transformer", "cap_feat_dim", "hidden_size", ("text_encoder",)),
            Joint("transformer", "in_channels", "latent_channels", ("vae",)),
        ),
        repository="Tongyi-MAI/Z-Image-Turbo",
    )
    pipelines = (ZImagePipeline,)
    session = ZImageSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
