"""What tells one family of models from others when its files are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One network of a family.

    Attributes:
        name: of the option that gives it, and of the part in a checkpoint.
        component: the pipeline's name for it.
        tokenizer: the pipeline's name for the tokenizer that goes with it.
        optional: whether the pipeline runs without it.
        tokens: that the pipeline gives it at most, where not the tokenizer's own number of them.
        padding: with which a vocabulary of CLIP-L serves it, too.
    """

    name: str
    component: str
    tokenizer: str | None = None
    optional: bool = False
    tokens: int | None = None
    padding: str | None = None


UNET = Part("unet", "unet")
DIT = Part("dit", "transformer")
VAE = Part("vae", "vae")
CLIP_L = Part("clip_l", "text_encoder", "tokenizer")
CLIP_G = Part("clip_g", "text_encoder_2", "tokenizer_2", padding="!")
CLIP_H = Part("clip_h", "text_encoder", "tokenizer", padding="!")
T5XXL = Part("t5xxl", "text_encoder_3", "tokenizer_3", optional=True)


@dataclass(frozen=True)
class Joint:
    """Where one part hands its states to another.

    Attributes:
        part: the component that reads.
        field: of its configuration: the width that it expects.
        width: field of the configurations of those that write; their widths add up.
        givers: the components that write; a joint of which one is absent is not looked at.
        times: how many of them are read at once, as where latent pixels are packed.
    """

    part: str
    field: str
    width: str
    givers: tuple[str, ...]
    times: int = 1


@dataclass(frozen=True)
class Family:
    """The parts of a family's models.

    Attributes:
        name: of the backend.
        parts: the denoiser first.
        config: shipped configuration of parts that do not tell their own; without one, models are
            diffusers folders, which do.
        joints: where the parts meet; those of several models are refused if they do not fit.
        repository: of the hub, with every tokenizer of the family, for messages.
    """

    name: str
    parts: tuple[Part, ...]
    config: str | None = None
    joints: tuple[Joint, ...] = ()
    repository: str | None = None

    @property
    def denoiser(self) -> Part:
        """The part that decides what a model is."""
        return self.parts[0]

    def title_of(self, component: str) -> str:
        """Return the name of the part that a component is; a component of none is its own."""
        names = {part.component: part.name for part in self.parts}
        return names.get(component, component)


@dataclass(frozen=True)
class ModelOptions:
    """Options that every family has."""

    vae: str | None = field(default=None, metadata={"help": "VAE: file or folder"})
    config: str | None = field(
        default=None,
        metadata={"help": "diffusers folder whose configurations describe what files hold"},
    )
    tokenizers: str | None = field(
        default=None, metadata={"help": "folder that holds tokenizer/, tokenizer_2/, …"}
    )
    lora_text_encoder_scale: float | None = field(
        default=None,
        metadata={
            "help": "scale for text encoders of each LoRA that names none, as FILE:te=… does"
        },
    )


@dataclass(frozen=True)
class SourceOptions(ModelOptions):
    """Options of families that read CLIP-L."""

    clip_l: str | None = field(
        default=None, metadata={"help": "text encoder CLIP-L: file or folder"}
    )


def part_overrides(family: Family, options: Any) -> dict[str, str]:
    """Return the parts that options give, by name."""
    values = {part.name: getattr(options, part.name, None) for part in family.parts}
    return {name: value for name, value in values.items() if value is not None}
