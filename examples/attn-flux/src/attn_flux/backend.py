"""What a FLUX.1 is made of, and its options."""

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import FluxPipeline

from attn.backends.diffusers import DiffusersBackend, Family, Part
from attn_flux import demo
from attn_flux.session import LONGEST, FluxSession


@dataclass(frozen=True)
class FluxOptions:
    """Options of FLUX.1."""

    t5_tokens: int | None = field(
        default=None,
        metadata={"help": "positions of T5 (1 to 512); none: 512, schnell 256"},
    )
    true_cfg: float = field(
        default=1.0,
        metadata={"help": "classifier-free guidance against --negative; 1 is off"},
    )

    def __post_init__(self) -> None:
        if self.t5_tokens is not None and not 1 <= self.t5_tokens <= LONGEST:
            raise ValueError(f"t5_tokens must be 1 to {LONGEST}; got {self.t5_tokens}")
        if not 1 <= self.true_cfg < float("inf"):
            raise ValueError(f"true_cfg must be 1 or more; got {self.true_cfg}")


class FluxBackend(DiffusersBackend):
    """FLUX.1 dev and schnell."""

    Options = FluxOptions
    example_prompt = "a red cat on a wooden chair"
    family = Family(
        "flux",
        (
            Part("dit", "transformer"),
            Part("vae", "vae"),
            Part("clip_l", "text_encoder", "tokenizer"),
            Part("t5xxl", "text_encoder_2", "tokenizer_2"),
        ),
    )
    pipelines = (FluxPipeline,)
    session = FluxSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model of `attn_flux.demo`."""
        return demo.pipeline(dtype, weights=weights)
