"""Krea 2: one stream of text and image, in which every attention has a gate per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from diffusers import Krea2Pipeline

from attn import demo
from attn.backends.diffusers import (
    DiffusersBackend,
    DiffusersSession,
    JointSession,
    Recipe,
    Template,
)
from attn.backends.loading.family import DIT, VAE, Family, Joint, ModelOptions, Part
from attn.backends.types import ModelInfo, Session
from attn.checkpoints.inventory import CONFIGS
from attn.demo.untrained import krea2 as untrained
from attn.errors import ModelError, RequestError
from attn.schema import Gate, Layer, LayerKey, Request, Segment

SHORTEST, LONGEST = 16, 512
"""Positions of the text: masked padding fills it up."""
DROPPED = 34
"""Tokens of the instruction before a prompt, of which the denoiser is given nothing."""
TOLD_NOTHING = (
    "a file does not say whether it is Krea 2 Turbo or Raw: it is drawn as Turbo (8 steps, no "
    "guidance); --set release=raw draws it as Raw, --set release=turbo says that this is right"
)


@dataclass(frozen=True)
class Krea2Options(ModelOptions):
    """Options of Krea 2."""

    dit: str | None = field(default=None, metadata={"help": "transformer: file or folder"})
    qwen3vl: str | None = field(
        default=None, metadata={"help": "text encoder Qwen3-VL-4B: file or folder"}
    )
    qwen3vl_tokens: int = field(
        default=LONGEST, metadata={"help": "positions of the text (16 to 512)"}
    )
    release: Literal["auto", "turbo", "raw"] = field(
        default="auto", metadata={"help": "which one the weights are; a folder says so itself"}
    )


class Krea2Session(JointSession):
    """A loaded Krea 2. The sequence is the prompt, masked padding, its turn's end, the image."""

    stacks = ("transformer_blocks",)
    lora_families = ("krea2",)
    encoders: ClassVar = {"qwen3vl": ("",)}
    guidance = "calls"
    custom_sigmas = True

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        super().__init__(pipe, info, options, device)
        if options.release != "auto":
            pipe.register_to_config(is_distilled=options.release == "turbo")
        is_turbo = pipe.config.is_distilled
        self.default_steps = 8 if is_turbo else 28
        self.default_guidance = 0.0 if is_turbo else 4.5

    @property
    def templates(self) -> Mapping[str, Template]:  # type: ignore[override]
        """An instruction, which is dropped, and what ends the prompt's turn, behind the padding."""
        prefix = self.pipe.prompt_template_encode_prefix
        suffix = self.pipe.prompt_template_encode_suffix
        dropped = self.pipe.prompt_template_encode_start_idx
        length = self.options.qwen3vl_tokens
        return {
            "qwen3vl": Template(
                lambda _, prompt: prefix + prompt + suffix,
                length + dropped,
                dropped,
                multiple=length,
                fills_inside=True,
            )
        }

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image, which is two by two latent pixels."""
        return int(self.pipe.vae_scale_factor * self.pipe.patch_size)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return 1024

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with guidance, which begins at 0 in this pipeline."""
        return ("cond", "uncond") if request.guidance and request.guidance > 0 else ("cond",)

    def complete(self, request: Request) -> Request:
        """Also check the option; see `Session.complete`."""
        if not SHORTEST <= self.options.qwen3vl_tokens <= LONGEST:
            raise RequestError(
                f"qwen3vl_tokens must be {SHORTEST} to {LONGEST}; got {self.options.qwen3vl_tokens}"
            )
        return super().complete(request)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the prompt and what ends its turn."""
        return tuple(part for part in self.leading_segments(request) if part.kind == "text")

    def leading_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the text, and the padding within it."""
        return self.templated_segments(request, 0)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the refiners of the text, then the blocks, with their gates."""
        text, config = self.leading_segments(request), self.model.config
        refiners = [
            Layer(
                index=index,
                tower="denoiser",
                path=f"text_fusion.refiner_blocks.{index}.attn",
                kind="self",
                num_heads=config.text_num_attention_heads,
                queries=text,
                keys=text,
                head_dim=config.text_hidden_dim // config.text_num_attention_heads,
                num_key_heads=config.text_num_key_value_heads,
                gates=_gates(f"text_fusion.refiner_blocks.{index}.attn", "text"),
            )
            for index in range(len(self.model.text_fusion.refiner_blocks))
        ]
        blocks = [
            replace(
                layer,
                index=layer.index + len(refiners),
                num_key_heads=config.num_key_value_heads,
                gates=_gates(layer.path, "image", "text"),
            )
            for layer in super().layers(request)
        ]
        return (*refiners, *blocks)

    def left_out(self, request: Request) -> tuple[LayerKey, ...]:
        """Return what attends to the layers of the text encoder, in each token alone."""
        count = len(self.model.text_fusion.layerwise_blocks)
        return tuple(
            ("denoiser", f"text_fusion.layerwise_blocks.{number}.attn") for number in range(count)
        )

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.qwen3vl_tokens}


def _gates(path: str, *parts: str) -> tuple[Gate, ...]:
    """Return the gate of one attention, by the parts of its queries."""
    return tuple(Gate(part, f"{path}.to_gate", "sigmoid", whole=True) for part in parts)


class Krea2Backend(DiffusersBackend):
    """Krea 2 Turbo and Raw."""

    Options = Krea2Options
    example_prompt = demo.EXAMPLE_PROMPT
    family = Family(
        "krea2",
        (DIT, VAE, Part("qwen3vl", "text_encoder", "tokenizer", tokens=LONGEST + DROPPED)),
        config="krea2",
        joints=(
            Joint("transformer", "text_hidden_dim", "hidden_size", ("text_encoder",)),
            Joint("transformer", "in_channels", "z_dim", ("vae",), times=4),
        ),
        repository="krea/Krea-2-Turbo",
    )
    pipelines = (Krea2Pipeline,)
    session = Krea2Session

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Check which layers of the text encoder are read; see `DiffusersBackend.finish`."""
        pipe = session.pipe
        layers = pipe.text_encoder.config.text_config.num_hidden_layers
        read, expected = pipe.text_encoder_select_layers, pipe.transformer.config.num_text_layers
        if len(read) != expected or not all(-layers <= layer <= layers for layer in read):
            raise ModelError(
                f"text_encoder_select_layers is {list(read)}; expected {expected} numbers from 0 "
                f"to {layers}, the layers of the text encoder: its parts are of several models"
            )
        is_file = recipe is not None and recipe.roots[0].parent == CONFIGS
        if is_file and session.options.release == "auto":
            session.warnings += (TOLD_NOTHING,)
        return super().finish(session, recipe)

    def build_demo(self, dtype: torch.dtype, *, weights: bool) -> Any:
        """Build the tiny model; see `DiffusersBackend.build_demo`."""
        return untrained.build(dtype, weights=weights)
