"""Stable Diffusion 3.5 (and 3): a transformer in which image and text attend to one sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from diffusers import StableDiffusion3Pipeline
from diffusers.models.attention_processor import FusedJointAttnProcessor2_0

from attn import demo
from attn.backends.diffusers import DiffusersBackend, DiffusersSession, JointSession
from attn.backends.loading.family import (
    CLIP_G,
    CLIP_L,
    DIT,
    T5XXL,
    VAE,
    Family,
    Joint,
    SourceOptions,
)
from attn.backends.loading.recipe import Recipe
from attn.backends.types import Session
from attn.engine.walks import walk_modules
from attn.errors import CaptureError, RequestError
from attn.schema import Layer, Request, Segment


@dataclass(frozen=True)
class SD35Options(SourceOptions):
    """Options of SD3 and SD3.5."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    clip_g: str | None = field(
        default=None, metadata={"help": "text encoder CLIP-G: file or folder"}
    )
    t5xxl: str | None = field(
        default=None,
        metadata={"help": "text encoder T5-XXL: file or folder; without it, zeros are read"},
    )
    t5_tokens: int = field(default=256, metadata={"help": "positions of the T5 encoder (1 to 512)"})
    skip_layers: tuple[int, ...] = field(
        default=(),
        metadata={"help": "blocks that skip-layer guidance leaves out (7,8,9 for medium)"},
    )
    skip_scale: float = field(default=2.8, metadata={"help": "strength of skip-layer guidance"})
    skip_start: float = field(
        default=0.01, metadata={"help": "share of the steps before it begins"}
    )
    skip_stop: float = field(
        default=0.2, metadata={"help": "share of the steps after which it ends"}
    )


class SD35Session(JointSession):
    """A loaded SD3 or SD3.5 pipeline. The sequence is image, then `clip` (L and G), then `t5`."""

    weighs_words = True
    default_steps = 28
    default_guidance = 4.5
    lora_families = ("sd35",)
    encoders: ClassVar = {"clip": ("", "_2"), "t5": ("_3",)}
    concept_stream = "transformer_blocks"

    @property
    def longest_side(self) -> int:
        """Pixels a side for which there is a table of positions."""
        return int(self.model.config.pos_embed_max_size * self.multiple)

    def complete(self, request: Request) -> Request:
        """Also check the layers that guidance skips; see `Session.complete`."""
        request = super().complete(request)
        self._check_skipped()
        return request

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return also `skip` where skip-layer guidance runs."""
        branches = super().branches(request)
        return (*branches, "skip") if self.options.skip_layers and len(branches) > 1 else branches

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return `attn` (joint) and, in dual blocks, `attn2` (image only) of every block."""
        layers: list[Layer] = []
        image, clip, t5 = self.segments(request)
        for number, block in enumerate(self.model.transformer_blocks):
            for name in ("attn", "attn2"):
                module = getattr(block, name, None)
                if module is None:
                    continue
                span = (image, clip, t5) if name == "attn" else (image,)
                layers.append(
                    Layer(
                        index=len(layers),
                        tower="denoiser",
                        path=f"transformer_blocks.{number}.{name}",
                        kind="joint" if name == "attn" else "self",
                        num_heads=module.heads,
                        queries=span,
                        keys=span,
                        head_dim=module.inner_dim // module.heads,
                    )
                )
        return tuple(layers)

    def check(self) -> None:
        """Refuse fused projections, which drop this model's query and key norms."""
        super().check()
        for path, module in walk_modules(self.model):
            is_fused = isinstance(getattr(module, "processor", None), FusedJointAttnProcessor2_0)
            if is_fused and module.norm_q is not None:
                raise CaptureError(
                    f"{path}: fuse_qkv_projections() leaves out SD3.5's query and key norms and "
                    "gives another picture; call pipe.transformer.unfuse_qkv_projections()"
                )

    def reads_t5(self) -> bool:
        """Whether T5 is there."""
        return None not in (self.pipe.tokenizer_3, self.pipe.text_encoder_3)

    def segments(self, request: Request) -> tuple[Segment, Segment, Segment]:
        """Return the picture, with which the sequence begins, and the texts."""
        grid = self.grid(request)
        pixels = grid[0] * grid[1]
        clip = pixels + self.pipe.tokenizer_max_length
        return (
            Segment("image", "image", 0, pixels, grid),
            Segment("clip", "text", pixels, clip),
            Segment("t5", "text", clip, clip + self.options.t5_tokens),
        )

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `clip` and `t5`, which follow the picture."""
        return self.segments(request)[1:]

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the arguments for T5 and skip-layer guidance."""
        options = self.options
        skip = {
            "skip_guidance_layers": list(options.skip_layers),
            "skip_layer_guidance_scale": options.skip_scale,
            "skip_layer_guidance_start": options.skip_start,
            "skip_layer_guidance_stop": options.skip_stop,
        }
        return {"max_sequence_length": options.t5_tokens, **(skip if options.skip_layers else {})}

    def skipped_paths(self, keywords: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the blocks that skip-layer guidance leaves out."""
        return tuple(f"transformer_blocks.{block}" for block in keywords.get("skip_layers") or ())

    def _check_skipped(self) -> None:
        count = len(self.model.transformer_blocks)
        wrong = [block for block in self.options.skip_layers if not 0 <= block < count]
        if wrong:
            raise RequestError(f"skip_layers: this model has blocks 0 to {count - 1}; got {wrong}")
        options = self.options
        if not math.isfinite(options.skip_scale):
            raise RequestError(f"skip_scale must be a number; got {options.skip_scale}")
        if not 0 <= options.skip_start < options.skip_stop <= 1:
            raise RequestError(
                "skip_start and skip_stop must be 0 to 1, the first below the second; got "
                f"{options.skip_start:g} and {options.skip_stop:g}"
            )
        if not 1 <= self.options.t5_tokens <= 512:  # noqa: PLR2004 - the pipeline's own limit
            raise RequestError(f"t5_tokens must be 1 to 512; got {self.options.t5_tokens}")


class SD35Backend(DiffusersBackend):
    """Stable Diffusion 3.5."""

    Options = SD35Options
    example_prompt = demo.example_prompt("sd35")
    family = Family(
        "sd35",
        (DIT, VAE, CLIP_L, CLIP_G, T5XXL),
        config="sd35-large",
        joints=(
            Joint("transformer", "joint_attention_dim", "d_model", ("text_encoder_3",)),
            Joint(
                *("transformer", "pooled_projection_dim", "projection_dim"),
                ("text_encoder", "text_encoder_2"),
            ),
            Joint("transformer", "in_channels", "latent_channels", ("vae",)),
        ),
        repository="stabilityai/stable-diffusion-3.5-large",
    )
    variants = ("medium",)
    pipelines = (StableDiffusion3Pipeline,)
    session = SD35Session

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Tell of a T5 that is not there; see `DiffusersBackend.finish`."""
        if isinstance(session, SD35Session) and not session.reads_t5():
            way = "--set t5xxl=PATH gives it" if recipe else "load the pipeline with it"
            session.warnings += (
                f"there is no T5 text encoder: its {session.options.t5_tokens} positions are "
                f"zero; {way}",
            )
        return session
