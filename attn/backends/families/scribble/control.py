"""Stable Diffusion that a ControlNet steers by a drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from torch import nn

from attn.backends.families.scribble import controlnet as controlnets
from attn.backends.families.scribble import drawing as drawings
from attn.backends.families.scribble.options import (
    NONE,
    OF_TOKENS,
    ScribbleOptions,
    effective_options,
)
from attn.backends.families.scribble.residuals import Residuals
from attn.backends.families.scribble.session import DrawnSession
from attn.backends.families.sd15 import SD15Backend, SD15Session
from attn.backends.families.sdxl import SDXLBackend, SDXLSession
from attn.backends.families.unet import UNetBackend
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.types import OnCall, Output, Session
from attn.checkpoints import folders
from attn.errors import RequestError
from attn.schema import Request

TOWER = "controlnet"


class ControlSession(DrawnSession):
    """A loaded pipeline with a ControlNet."""

    foreign = OF_TOKENS

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the UNet and the ControlNet, which runs before it in every step."""
        return {"denoiser": self.model, TOWER: self.pipe.controlnet}

    def tower_branches(self, tower: str, request: Request) -> tuple[str, ...]:
        """Return the guidance rows; in guess mode the ControlNet runs `cond` alone."""
        if tower == TOWER and self._guesses(request):
            return ("cond",)
        return self.branches(request)

    def complete(self, request: Request) -> Request:
        """Also check the ControlNet's settings; see `Session.complete`."""
        options = effective_options(self.options, request)
        if not (math.isfinite(options.conditioning_scale) and options.conditioning_scale >= 0):
            raise RequestError(
                f"conditioning_scale must be 0 or more; got {options.conditioning_scale:g}"
            )
        start, end = options.control_start, options.control_end
        if not 0 <= start < end <= 1:
            raise RequestError(
                "control_start and control_end must be shares of the steps, the start before the "
                f"end; got {start:g} and {end:g}"
            )
        return super().complete(request)

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline, and note how strongly the ControlNet acts; see `Session.generate`."""
        first = requests[0]
        with Residuals(self.pipe) as residuals:
            outputs = super().generate(requests, on_call)
        rows = self.tower_branches(TOWER, first)[::-1]
        histories = residuals.history(rows, len(requests) * first.images)
        return [
            replace(
                output,
                histories=tuple(histories[index * first.images : (index + 1) * first.images]),
                sketch=drawings.as_image(self.drawing(request)),
            )
            for index, (output, request) in enumerate(zip(outputs, requests, strict=True))
        ]

    def _guesses(self, request: Request) -> bool:
        pools = self.pipe.controlnet.config.global_pool_conditions  # which diffusers takes for it
        return bool(effective_options(self.options, request).guess_mode or pools)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the drawing, and how the ControlNet acts."""
        options = effective_options(self.options, requests[0])
        usual = super().extra_arguments(requests)
        usual.pop("guidance_rescale")
        return usual | {
            "image": [drawings.as_image(self.drawing(request)) for request in requests],
            "controlnet_conditioning_scale": 0.0
            if options.sketch == NONE
            else options.conditioning_scale,
            "guess_mode": options.guess_mode,
            "control_guidance_start": options.control_start,
            "control_guidance_end": options.control_end,
        }


class SDXLControlSession(ControlSession, SDXLSession):
    """A loaded SDXL pipeline with a ControlNet."""


class SD15ControlSession(ControlSession, SD15Session):
    """A loaded SD1.x pipeline with a ControlNet."""


class ControlBackend(UNetBackend):
    """What bases with a ControlNet share."""

    Options = ScribbleOptions
    plain: ClassVar[type[Any]]
    """The pipeline without a ControlNet."""

    def recipe(self, source: Source, options: Any) -> Recipe:
        """Also find the ControlNet; see `DiffusersBackend.recipe`."""
        return controlnets.with_controlnet(
            super().recipe(source, options), source, options.controlnet
        )

    def pipeline_class(self, folder: Path) -> type[Any]:
        """Take a pipeline without a ControlNet too; see `DiffusersBackend.pipeline_class`."""
        name = folders.read_index(folder)["_class_name"]
        return self.pipelines[0] if name == self.plain.__name__ else super().pipeline_class(folder)

    def finish(self, session: Any, recipe: Recipe | None) -> Session:
        """Refuse a ControlNet that does not fit; see `DiffusersBackend.finish`."""
        controlnets.require_agreement(session.pipe)
        return super().finish(session, recipe)


class SDXLControl(ControlBackend):
    """SDXL with a ControlNet."""

    family = SDXLBackend.family
    pipelines = (StableDiffusionXLControlNetPipeline,)
    plain = StableDiffusionXLPipeline
    session = SDXLControlSession
    extra: ClassVar = SDXLBackend.extra


class SD15Control(ControlBackend):
    """SD1.x with a ControlNet."""

    family = SD15Backend.family
    pipelines = (StableDiffusionControlNetPipeline,)
    plain = StableDiffusionPipeline
    session = SD15ControlSession
    extra: ClassVar = SD15Backend.extra
