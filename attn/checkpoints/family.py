"""What is known of a family's files before anything is loaded: a declaration, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.checkpoints.lora_kinds import LoraKind
    from attn.checkpoints.transformers import Transformer


@dataclass(frozen=True)
class FamilyFiles:
    """The files of one family's models.

    Attributes:
        name: of the backend that opens them.
        parts: of its models; see `Checkpoint.parts`.
        optional: parts that models run without.
        base: family whose models these are with something added.
        pipelines: classes that diffusers folders of it name.
        unet: what the configuration of its UNet says, where another family has these classes.
        transformer: what tells its denoiser, if that is a transformer told by a table.
        tokenizers: published repositories, and the folder in each, by the part that reads.
        levels: of each side of its UNet.
        loras: the kinds that its models may be changed by.
    """

    name: str
    parts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    base: str | None = None
    pipelines: tuple[str, ...] = ()
    unet: Mapping[str, object] = field(default_factory=dict)
    transformer: Transformer | None = None
    tokenizers: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    levels: int = 0
    loras: tuple[LoraKind, ...] = ()
