"""Stable Diffusion with a drawing: through a ControlNet, or as tokens after those of the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from torch import nn

from attn import demo
from attn.backends.diffusers import adapters, schedules
from attn.backends.diffusers.backend import guide_demo
from attn.backends.families.scribble import controlnet as controlnets
from attn.backends.families.scribble import drawing as drawings
from attn.backends.families.scribble import sketch_tokens
from attn.backends.families.scribble.drawing import Strokes
from attn.backends.families.scribble.residuals import Residuals
from attn.backends.families.scribble.sketch_tokens import SketchEncoder
from attn.backends.families.sdxl import (
    SD15Backend,
    SD15Session,
    SDXLBackend,
    SDXLOptions,
    SDXLSession,
    UNetBackend,
    UNetSession,
)
from attn.backends.loading import source as sources
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.types import Backend, OnCall, Output, Session
from attn.demo import scenes
from attn.errors import RequestError
from attn.schema import Lora, Request, Segment
from attn.schema import Sequence as TokenSequence

AUTO, NONE = "auto", "none"
TOWER = "controlnet"


@dataclass(frozen=True)
class ScribbleOptions(SDXLOptions):
    """Options of models that read a drawing."""

    controlnet: str | None = field(
        default=None, metadata={"help": "ControlNet: file, folder or hub id"}
    )
    sketch: str = field(
        default=AUTO,
        metadata={
            "help": "the drawing: a picture file; none is the model without one; auto is the "
            "prompt's outline, which only the demo models can draw"
        },
    )
    ground: drawings.Ground = field(
        default="auto", metadata={"help": "what the strokes are drawn on; auto looks"}
    )
    fit: drawings.Fit = field(
        default="pad", metadata={"help": "how a drawing of another shape is laid out"}
    )
    edges: Literal["none", "canny"] = field(
        default="none", metadata={"help": "take the edges of a photo for the strokes"}
    )
    conditioning_scale: float = field(
        default=1.0, metadata={"help": "what the ControlNet's residuals are multiplied by"}
    )
    guess_mode: bool = field(
        default=False,
        metadata={"help": "the drawing guides the cond row alone, weaker in the fine blocks"},
    )
    control_start: float = field(
        default=0.0, metadata={"help": "share of the steps after which the ControlNet acts"}
    )
    control_end: float = field(
        default=1.0, metadata={"help": "share of the steps after which it acts no more"}
    )
    base: str | None = field(
        default=None,
        metadata={"help": "ScribbleDiffusion: the SD1.x that its UNet was made of"},
    )
    lines: Literal["black", "white"] = field(
        default="black", metadata={"help": "ScribbleDiffusion: strokes as in its training, or not"}
    )
    sketch_size: int = field(
        default=256, metadata={"help": "ScribbleDiffusion: side of the drawing; 0 as the picture"}
    )
    betas: Literal["linear", "scaled_linear", "own"] = field(
        default="linear",
        metadata={"help": "ScribbleDiffusion: noise as in its training, or the base model's own"},
    )
    uncond_text: Literal["zeros", "empty"] = field(
        default="zeros", metadata={"help": "ScribbleDiffusion: text of the row uncond"}
    )
    guidance_rescale: float = field(
        default=0.0,
        metadata={"help": "ScribbleDiffusion: pull the guided picture's contrast back (0 to 1)"},
    )
    uncond_sketch: Literal["encoded", "zeros"] = field(
        default="encoded",
        metadata={"help": "ScribbleDiffusion: sketch of the row uncond, encoded from black or 0"},
    )


OF_CONTROL = ("controlnet", "conditioning_scale", "guess_mode", "control_start", "control_end")
"""Options of models with a ControlNet."""
OF_TOKENS = (
    *("base", "lines", "sketch_size", "betas", "uncond_text", "uncond_sketch"),
    "guidance_rescale",
)
"""Options of ScribbleDiffusion; pipelines with a ControlNet have none of them."""


OF_REQUEST = (
    *("sketch", "ground", "fit", "edges", "conditioning_scale", "guess_mode"),
    *("control_start", "control_end", "lines", "sketch_size", "uncond_text", "uncond_sketch"),
)
"""Options of drawings and of how they act, which may differ between the requests of a session."""


class DrawnSession(UNetSession):
    """What sessions that read a drawing share."""

    foreign: ClassVar[tuple[str, ...]]
    """Options of the other kind of model, which would have no effect."""

    def drawing(self, request: Request) -> tuple[Strokes, str]:
        """Return the strokes that one request is given, and what the user should know of them.

        Raises:
            RequestError: there is no drawing, or none that could be used.
        """
        options, size = (
            effective_options(self.options, request),
            (request.width or 0, request.height or 0),
        )
        if options.sketch == NONE:
            return np.zeros(size[::-1], np.bool_), ""
        if options.sketch == AUTO:
            return self._outline(request), "the sketch is the prompt's outline, drawn by attn"
        sketch = drawings.read_sketch(
            options.sketch, options.ground, edges=options.edges == "canny"
        )
        strokes, remark = drawings.fit_strokes(sketch, *size, options.fit)
        return strokes, "\n".join(filter(None, (drawings.describe(sketch), remark)))

    def complete(self, request: Request) -> Request:
        """Also read the drawing; its hash joins the options, those of other models leave them.

        See `Session.complete`.
        """
        request = super().complete(request)
        options = effective_options(self.options, request)
        self._refuse_foreign(request)
        options_here = {
            name: value for name, value in request.options.items() if name not in self.foreign
        }
        request = replace(request, options=options_here)
        self.drawing(request)  # one that cannot be used is refused
        if options.sketch in (AUTO, NONE):
            return request
        sketch = drawings.read_sketch(
            options.sketch, options.ground, edges=options.edges == "canny"
        )
        return replace(request, options={**request.options, "sketch_sha256": sketch.sha256})

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of the drawing; see `Session.remarks`."""
        drawn = self.drawing(completed)[1].split("\n")
        return (*super().remarks(request, completed), *filter(None, drawn))

    def _refuse_foreign(self, request: Request) -> None:
        usual = asdict(type(self.options)())
        options = {**asdict(self.options), **request.options}
        foreign = [name for name in self.foreign if options[name] != usual[name]]
        if foreign:
            kinds = {OF_CONTROL: "a ControlNet", OF_TOKENS: "sketch tokens (ScribbleDiffusion)"}
            raise RequestError(
                f"{', '.join(foreign)}: only for models with {kinds[self.foreign]}; "
                f"{self.info.source} has none"
            )

    def _outline(self, request: Request) -> Strokes:
        if not self.info.source.startswith("demo"):
            raise RequestError(
                "no sketch: give one with --sketch FILE, or --sketch none for the model without one"
            )
        return _outline(request.prompt, request.seed, request.width or 0, request.height or 0)


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
                sketch=drawings.as_image(self.drawing(request)[0]),
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
            "image": [drawings.as_image(self.drawing(request)[0]) for request in requests],
            "controlnet_conditioning_scale": 0.0
            if options.sketch == NONE
            else options.conditioning_scale,
            "guess_mode": options.guess_mode,
            "control_guidance_start": options.control_start,
            "control_guidance_end": options.control_end,
        }


class TokensSession(DrawnSession, SD15Session):
    """A loaded ScribbleDiffusion checkpoint; the drawing is 77 more tokens."""

    encoder: SketchEncoder
    foreign = OF_CONTROL
    skips_prompt_alone = False

    def complete(self, request: Request) -> Request:
        """Also check how large the drawing is read; see `Session.complete`."""
        options = effective_options(self.options, request)
        if options.sketch_size < 0:
            raise RequestError(f"sketch_size must be 0 or more; got {options.sketch_size}")
        return super().complete(request)

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of a negative prompt that is not read; see `Session.remarks`."""
        usual = super().remarks(request, completed)
        if (
            request.negative is None
            or effective_options(self.options, request).uncond_text != "zeros"
        ):
            return usual
        unread = "the row uncond reads no text (uncond_text=zeros), so no negative prompt"
        return (unread, *usual)

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the segments `clip` and `sketch`."""
        text = super().sequence(request, branch)
        segments = self._read_segments(request)
        drawn = sketch_tokens.sketch_tokens(segments[1].start, segments[1].length)
        return replace(text, segments=segments, tokens=(*text.tokens, *drawn))

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline on text and drawing; see `Session.generate`."""
        outputs = super().generate(requests, on_call)
        is_dark = effective_options(self.options, requests[0]).lines == "black"
        return [
            replace(output, sketch=drawings.as_image(self.drawing(request)[0], dark=is_dark))
            for output, request in zip(outputs, requests, strict=True)
        ]

    def train_betas(self, schedule: str) -> None:
        """Take the noise of the training in place of the base model's."""
        self.scheduler = schedules.with_betas(self.scheduler, schedule)

    def branch_text(self, request: Request, branch: str) -> str | None:
        """Return no text for `uncond` by default; see `DiffusersSession`."""
        reads_zeros = effective_options(self.options, request).uncond_text == "zeros"
        return None if branch == "uncond" and reads_zeros else super().branch_text(request, branch)

    def _read_segments(self, request: Request) -> tuple[Segment, ...]:
        (text,) = super()._read_segments(request)
        stop = text.stop + self.encoder.tokens
        return (text, Segment(sketch_tokens.SEGMENT, "text", text.stop, stop))

    @torch.no_grad()
    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return embeddings of text and drawing in place of the text."""
        options = effective_options(self.options, requests[0])
        usual = super().extra_arguments(requests)
        prompts = [request.prompt for request in requests]
        text = self._encode_text(prompts, usual["clip_skip"])
        sketch = self._encode_drawings([self.drawing(request)[0] for request in requests], options)
        arguments = {
            "prompt": None,
            "negative_prompt": None,
            "prompt_embeds": torch.cat([text, sketch], 1),
        }
        if len(self.branches(requests[0])) > 1:
            arguments["negative_prompt_embeds"] = self._unconditional(
                requests, options, text, sketch
            )
        return usual | arguments

    def _encode_text(self, prompts: list[str], clip_skip: int | None) -> torch.Tensor:
        device = self.pipe._execution_device
        states: torch.Tensor = self.pipe.encode_prompt(
            prompts, device, 1, False, clip_skip=clip_skip
        )[0]
        return states

    def _encode_drawings(
        self, strokes: Sequence[Strokes], options: ScribbleOptions
    ) -> torch.Tensor:
        is_dark = options.lines == "black"
        images = [
            torch.from_numpy(np.asarray(drawing != is_dark, np.float32)) for drawing in strokes
        ]
        return self._encode(sketch_tokens.as_drawings(images, options.sketch_size))

    def _encode(self, drawings: torch.Tensor) -> torch.Tensor:
        device, dtype = self.pipe._execution_device, self.model.dtype
        states: torch.Tensor = self.encoder.to(device)(drawings.to(device, dtype))
        return states

    def _unconditional(
        self,
        requests: Sequence[Request],
        options: ScribbleOptions,
        text: torch.Tensor,
        sketch: torch.Tensor,
    ) -> torch.Tensor:
        """Return the states that the row uncond reads.

        By default what was read in training where text and drawing were left out: zeros for the
        text, and the encoding of zeros for the drawing.
        """
        no_text = torch.zeros_like(text)
        if options.uncond_text == "empty":
            negative = [request.negative or "" for request in requests]
            no_text = self._encode_text(negative, options.clip_skip)
        no_sketch = torch.zeros_like(sketch)
        if options.uncond_sketch == "encoded":
            side = options.sketch_size or 256
            no_sketch = self._encode(torch.zeros(len(sketch), 1, side, side))
        return torch.cat([no_text, no_sketch], 1)


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
        name = sources.read_index(folder)["_class_name"]
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


class TokensBackend(SD15Backend):
    """SD1.x that reads a drawing as tokens."""

    Options = ScribbleOptions
    session = TokensSession

    def open_source(
        self, origin: Source, options: Any, device: str, dtype: str, offload: str, *, weights: bool
    ) -> Session:
        """Also load the sketch encoder; see `DiffusersBackend.open_source`."""
        session: Any = super().open_source(origin, options, device, dtype, offload, weights=weights)
        unet = session.model
        session.encoder = sketch_tokens.load_encoder(
            origin.path / sketch_tokens.ENCODER,
            unet.config.cross_attention_dim,
            unet.dtype,
            weights=weights,
        )
        if options.betas != "own":
            session.train_betas(options.betas)
        guide_demo(session, origin.requested, "scribble")
        opened: Session = session
        return opened

    def recipe(self, source: Source, options: Any) -> Recipe:
        """Also find the sketch encoder; see `DiffusersBackend.recipe`."""
        return sketch_tokens.collect(source, self.family, options)


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
        self,
        source: str | Path | object,
        options: Any,
        *,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "none",
        weights: bool = True,
    ) -> Session:
        """Open a model; see `Backend.open`."""
        placing: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload}
        if isinstance(source, DiffusionPipeline):
            kind: type[ControlBackend] = (
                SD15Control if isinstance(source, SD15Control.pipelines) else SDXLControl
            )
            return kind().open(source, options, **placing, weights=weights)
        origin = sources.resolve(str(source), "scribble", self.variants)
        if sources.is_drawn(origin.path):
            return TokensBackend().open_source(origin, options, **placing, weights=weights)
        kind = self.kinds[controlnets.base_family(origin)]
        return kind().open_source(origin, options, **placing, weights=weights)


def effective_options(options: ScribbleOptions, request: Request) -> ScribbleOptions:
    """Return the options with what one request has for itself."""
    per_request = {name: request.options[name] for name in OF_REQUEST if name in request.options}
    return replace(options, **per_request)


@lru_cache(maxsize=64)
def _outline(prompt: str, seed: int, width: int, height: int) -> Strokes:
    """Draw the outlines of a scene that fits a caption of the shapes world, in the middle."""
    try:
        content = scenes.read(prompt)
    except KeyError:
        raise RequestError(
            f"no sketch for {prompt!r}: attn draws outlines only of captions of the shapes world, "
            f"such as {demo.example_prompt('scribble')!r}; give a --sketch FILE"
        ) from None
    side = min(width, height)
    strokes = np.zeros((height, width), np.bool_)
    top, left = (height - side) // 2, (width - side) // 2
    scene = scenes.arrange(content, np.random.default_rng(seed))
    strokes[top : top + side, left : left + side] = scenes.outlines(scene, side)
    return strokes
