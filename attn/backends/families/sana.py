"""Sana: blocks of linear self-attention, which has no softmax, and cross-attention to the text."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers import SanaPipeline

from attn import demo
from attn.backends.diffusers import DiffusersBackend, Template
from attn.backends.families.cross import CrossSession
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.demo.untrained import sana as untrained
from attn.schema import TEMPLATE, Request, Segment

LENGTH = 300
"""Positions of the text that the transformer reads."""
MOST_TOKENS = 1024
"""The instruction and the longest prompt together have fewer."""
INSTRUCTION: str = "\n".join(
    inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
)
"""What the pipeline puts before a prompt, and not before a negative one."""


@dataclass(frozen=True)
class SanaOptions(ModelOptions):
    """Options of Sana."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    gemma2: str | None = field(
        default=None, metadata={"help": "text encoder Gemma 2 2B: file or folder"}
    )


class SanaSession(CrossSession):
    """A loaded Sana.

    Of the instruction before the prompt the transformer is given the beginning of the text alone,
    so that no token of it is among the 300.
    """

    modules = (("attn2", "cross"),)
    encoders: ClassVar = {"gemma": ("",)}
    lora_families = ("sana", "pixart")  # of Sana 600M some cannot be told from PixArt's
    repeats_prompts = True
    default_steps = 20
    default_guidance = 4.5

    @property
    def templates(self) -> Mapping[str, Template]:  # type: ignore[override]
        """The instruction, of which the pipeline keeps all that the prompt's 299 tokens leave."""
        before = len(self.pipe.tokenizer.encode(INSTRUCTION)) - 1  # its space begins the prompt
        plain = Template(lambda _, prompt: prompt, LENGTH, dropped=1, kept=1, room=LENGTH)
        return {
            "gemma": Template(
                lambda _, prompt: INSTRUCTION + prompt,
                before + LENGTH - 1,
                dropped=before,
                kept=1,
                room=LENGTH,
                negative=plain,
            )
        }

    @property
    def converter(self) -> Any:
        """What the pipeline makes of a prompt when it does not clean it."""
        return lambda text, tokenizer: text.lower().strip()

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the beginning of the text, and the prompt, whose padding is masked."""
        return Segment(TEMPLATE, "text", 0, 1), Segment("gemma", "text", 1, LENGTH)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Take prompts and sizes as they were asked for."""
        return {
            "clean_caption": False,
            "use_resolution_binning": False,
            "max_sequence_length": LENGTH,
        }


class SanaBackend(DiffusersBackend):
    """Sana 600M and 1600M."""

    Options = SanaOptions
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "sana",
        (DIT, VAE, Part("gemma2", "text_encoder", "tokenizer", tokens=MOST_TOKENS)),
        config="sana-1600m",
        joints=(
            Joint("transformer", "caption_channels", "hidden_size", ("text_encoder",)),
            Joint("transformer", "in_channels", "latent_channels", ("vae",)),
        ),
        repository="Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
    )
    pipelines = (SanaPipeline,)
    session = SanaSession

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
