"""Stable Diffusion with a drawing: through a ControlNet, or as tokens after those of the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from diffusers import DiffusionPipeline

from attn import demo
from attn.backends.diffusers import adapters
from attn.backends.families.scribble import controlnet as controlnets
from attn.backends.families.scribble.control import ControlBackend, SD15Control, SDXLControl
from attn.backends.families.scribble.options import OF_REQUEST, ScribbleOptions
from attn.backends.families.scribble.tokens import TokensBackend
from attn.backends.families.sd15 import SD15Session
from attn.backends.families.sdxl import SDXLBackend, SDXLSession
from attn.backends.loading import source as sources
from attn.backends.types import AUTOMATIC, Backend, Placement, Session
from attn.checkpoints import folders
from attn.schema import Lora


class ScribbleBackend(Backend):
    """Models that read a drawing, whatever their base is."""

    Options = ScribbleOptions
    request_options = OF_REQUEST
    example_prompt = demo.example_prompt("scribble")
    family = SDXLBackend.family
    """With the parts of all bases."""
    variants: ClassVar = ("sd15", "tokens")
    kinds: ClassVar = {"sdxl": SDXLControl, "sd15": SD15Control}
    lora_families: ClassVar = (*SDXLSession.lora_families, *SD15Session.lora_families)

    def note_on_demo(self, model: str) -> str:
        """Return a remark for the user on the demo; see `Backend`."""
        return demo.note(sources.demo_name(model, "scribble", self.variants))

    def default_model(self, options: Any) -> str:
        """Return the denoiser that the options name, else the demo; see `Backend`."""
        return SDXLControl().default_model(options)

    def complete_loras(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """Check LoRA files for the bases that there are; see `Backend`."""
        return adapters.complete(loras, self.lora_families)

    def open(
        self, source: str | Path | object, options: Any, placement: Placement = AUTOMATIC
    ) -> Session:
        """Open a model; see `Backend.open`."""
        if isinstance(source, DiffusionPipeline):
            kind: type[ControlBackend] = (
                SD15Control if isinstance(source, SD15Control.pipelines) else SDXLControl
            )
            return kind().open(source, options, placement)
        origin = sources.resolve(str(source), "scribble", self.variants)
        if folders.is_scribble_diffusion(origin.path):
            return TokensBackend().open_source(origin, options, placement)
        kind = self.kinds[controlnets.base_family(origin)]
        return kind().open_source(origin, options, placement)
