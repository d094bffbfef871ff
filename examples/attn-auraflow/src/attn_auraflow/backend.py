"""What an AuraFlow is made of, and its options."""

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AuraFlowPipeline

from attn.backends.diffusers import DiffusersBackend, Family, Part
from attn_auraflow import demo
from attn_auraflow.session import LONGEST, AuraFlowSession


@dataclass(frozen=True)
class AuraFlowOptions:
    """Options of AuraFlow."""

    t5_tokens: int = field(
        default=LONGEST, metadata={"help": f"positions of the text encoder (1 to {LONGEST})"}
    )

    def __post_init__(self) -> None:
        if not 1 <= self.t5_tokens <= LONGEST:
            raise ValueError(f"t5_tokens must be 1 to {LONGEST}; got {self.t5_tokens}")


class AuraFlowBackend(DiffusersBackend):
    """AuraFlow."""

    Options = AuraFlowOptions
    example_prompt = "a red cat on a wooden chair"
    family = Family(
        "auraflow",
        (
            Part("dit", "transformer"),
            Part("vae", "vae"),
            Part("t5", "text_encoder", "tokenizer"),
        ),
    )
    pipelines = (AuraFlowPipeline,)
    session = AuraFlowSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model of `attn_auraflow.demo`."""
        return demo.pipeline(dtype, weights=weights)
