"""ScribbleDiffusion: a drawing read as tokens after those of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from attn.backends.diffusers import schedules
from attn.backends.diffusers.backend import guide_demo
from attn.backends.families.scribble import drawing as drawings
from attn.backends.families.scribble import sketch_tokens
from attn.backends.families.scribble.options import OF_CONTROL, ScribbleOptions, effective_options
from attn.backends.families.scribble.session import DrawnSession
from attn.backends.families.scribble.sketch_tokens import SketchEncoder
from attn.backends.families.scribble.strokes import Strokes
from attn.backends.families.sd15 import SD15Backend, SD15Session
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.types import OnCall, Output, Placement, Session
from attn.errors import RequestError
from attn.schema import Request, Segment
from attn.schema import Sequence as TokenSequence


class TokensSession(DrawnSession, SD15Session):
    """A loaded ScribbleDiffusion checkpoint; the drawing is 77 more tokens."""

    encoder: SketchEncoder
    foreign = OF_CONTROL
    weighs_words = False  # both rows are encoded as prompts
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
            replace(output, sketch=drawings.as_image(self.drawing(request), dark=is_dark))
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
        sketch = self._encode_drawings([self.drawing(request) for request in requests], options)
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


class TokensBackend(SD15Backend):
    """SD1.x that reads a drawing as tokens."""

    Options = ScribbleOptions
    session = TokensSession

    def open_source(self, origin: Source, options: Any, placement: Placement) -> Session:
        """Also load the sketch encoder; see `DiffusersBackend.open_source`."""
        session: Any = super().open_source(origin, options, placement)
        unet = session.model
        session.encoder = sketch_tokens.load_encoder(
            origin.path / sketch_tokens.ENCODER,
            unet.config.cross_attention_dim,
            unet.dtype,
            weights=placement.weights,
        )
        if options.betas != "own":
            session.train_betas(options.betas)
        guide_demo(session, origin.requested, "scribble")
        opened: Session = session
        return opened

    def recipe(self, source: Source, options: Any) -> Recipe:
        """Also find the sketch encoder; see `DiffusersBackend.recipe`."""
        return sketch_tokens.collect(source, self.family, options)
