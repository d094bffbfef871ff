"""Qwen-Image: double-stream blocks over one sequence, the text of a template first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import QwenImagePipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, JointSession, Template
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.demo.untrained import qwen_image as untrained
from attn.schema import Request, Segment

LONGEST, DROPPED = 1024, 34
"""Tokens of a text that are read, behind those of the instruction, which are dropped."""


@dataclass(frozen=True)
class QwenImageOptions(ModelOptions):
    """Options of Qwen-Image."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    qwen25vl: str | None = field(
        default=None, metadata={"help": "text encoder Qwen2.5-VL-7B: file or folder"}
    )


class QwenImageSession(JointSession):
    """A loaded Qwen-Image. The sequence of every layer is the text, then the packed image."""

    stacks = ("transformer_blocks",)
    lora_families = ("qwen-image",)
    encoders: ClassVar = {"qwen": ("",)}
    guidance = "calls"
    custom_sigmas = True
    repeats_prompts = True
    default_steps = 50
    default_guidance = 4.0

    @property
    def templates(self) -> Mapping[str, Template]:  # type: ignore[override]
        """What the pipeline puts around a prompt, most of which it drops again."""
        text, dropped = self.pipe.prompt_template_encode, self.pipe.prompt_template_encode_start_idx
        longest = self.pipe.tokenizer_max_length + dropped
        return {"qwen": Template(lambda _, prompt: text.format(prompt), longest, dropped)}

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the prompt and what ends its turn, with which the sequence begins."""
        return self.templated_segments(request, 0)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the guidance, which is not distilled, and the length that all of a text has."""
        return {
            "guidance_scale": None,
            "true_cfg_scale": requests[0].guidance,
            "max_sequence_length": self.pipe.tokenizer_max_length,
        }


class QwenImageBackend(DiffusersBackend):
    """Qwen-Image and Qwen-Image-2512."""

    Options = QwenImageOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "qwen-image",
        (DIT, VAE, Part("qwen25vl", "text_encoder", "tokenizer", tokens=LONGEST + DROPPED)),
        config="qwen-image",
        joints=(
            Joint("transformer", "joint_attention_dim", "hidden_size", ("text_encoder",)),
            Joint("transformer", "in_channels", "z_dim", ("vae",), times=4),
        ),
        repository="Qwen/Qwen-Image",
    )
    pipelines = (QwenImagePipeline,)
    session = QwenImageSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
