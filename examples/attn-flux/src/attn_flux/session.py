"""A loaded FLUX.1: how its sequence is laid out, and what runs in each step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attn.backends import ModelInfo, OnCall, Output, Session, image_seed
from attn.backends.shared import (
    Encoder,
    decode,
    finite_pictures,
    labels_checked,
    quiet,
    unknown_tokens,
)
from attn.errors import CaptureError, RequestError
from attn.schema import Call, Layer, Request, Segment, Token
from attn.schema import Sequence as TokenSequence

LONGEST = 512
SCHNELL_LONGEST = 256
SCHEDULER = "FlowMatchEulerDiscreteScheduler"
STEPS, GUIDANCE = 28, 3.5
SCHNELL_STEPS = 4


class FluxSession(Session):
    """The sequence of every layer is `t5`, then `image`."""

    def __init__(self, pipe: Any, info: ModelInfo, options: Any) -> None:
        self.pipe = pipe
        self.info = info
        self.options = options
        self.warnings: list[str] = []

    @property
    def model(self) -> Any:
        """The transformer."""
        return self.pipe.transformer

    @property
    def is_guided(self) -> bool:
        """Whether guidance is an input of the model: dev, not schnell."""
        return bool(self.model.config.guidance_embeds)

    @property
    def pixels(self) -> int:
        """Pixels per token and side: a latent pixel's, times the two that are packed."""
        return 2 * int(self.pipe.vae_scale_factor)

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the transformer."""
        return {"denoiser": self.model}

    def complete(self, request: Request) -> Request:
        """Fill in the defaults of dev or schnell; see `Session.complete`."""
        side = int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)
        width = side if request.width is None else request.width
        height = side if request.height is None else request.height
        if min(width, height) < self.pixels or width % self.pixels or height % self.pixels:
            raise RequestError(
                f"size {width}x{height}: width and height must be divisible by {self.pixels}"
            )
        usual = STEPS if self.is_guided else SCHNELL_STEPS
        steps = usual if request.steps is None else request.steps
        if steps < 1 or request.images < 1:
            raise RequestError(
                f"steps and images must be at least 1; got {steps} and {request.images}"
            )
        if request.scheduler not in (None, "default", "euler", SCHEDULER):
            raise RequestError(f"no scheduler '{request.scheduler}' for FLUX.1; there is euler")
        return replace(
            request,
            width=width,
            height=height,
            steps=steps,
            guidance=self._guidance(request),
            negative=request.negative or "",
            scheduler=SCHEDULER,
        )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with classifier-free guidance."""
        return ("cond", "uncond") if self.options.true_cfg > 1 else ("cond",)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the double-stream blocks, then the single-stream blocks."""
        both = self._segments(request)
        paths = [
            *(f"transformer_blocks.{n}.attn" for n in range(len(self.model.transformer_blocks))),
            *(
                f"single_transformer_blocks.{n}.attn"
                for n in range(len(self.model.single_transformer_blocks))
            ),
        ]
        config = self.model.config
        return tuple(
            Layer(
                index=index,
                tower="denoiser",
                path=path,
                kind="joint",
                num_heads=config.num_attention_heads,
                queries=both,
                keys=both,
                head_dim=config.attention_head_dim,
            )
            for index, path in enumerate(paths)
        )

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return T5's tokens, and the picture."""
        tokens, cut = self._decode(request, branch)
        return TokenSequence(self._segments(request), tokens, {"t5": cut} if cut else {})

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline on a batch; see `Session.generate`."""
        first = requests[0]
        guided = len(self.branches(first)) > 1
        generators = [
            torch.Generator().manual_seed(image_seed(request.seed, image))
            for request in requests
            for image in range(first.images)
        ]
        with (
            quiet(),
            finite_pictures(self.pipe.vae),
            labels_checked([self._encoder(requests)], self.model) as unknown,
            self._announced(requests, on_call),
        ):
            pictures = self.pipe(
                prompt=[request.prompt for request in requests],
                negative_prompt=[request.negative for request in requests] if guided else None,
                true_cfg_scale=self.options.true_cfg,
                num_inference_steps=first.steps,
                guidance_scale=first.guidance,
                width=first.width,
                height=first.height,
                num_images_per_prompt=first.images,
                generator=generators,
                max_sequence_length=self._text_length(),
            ).images
        for where in unknown:
            self._warn(unknown_tokens(*where))
        starts = range(0, len(pictures), first.images)
        return [
            Output(tuple(pictures[start : start + first.images]), unknown=frozenset(unknown))
            for start in starts
        ]

    def check(self) -> None:
        """Refuse a model without weights; see `Session.check`."""
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise CaptureError("this session was opened without weights; it can plan, not generate")

    def _guidance(self, request: Request) -> float:
        if not self.is_guided:
            if request.guidance:
                self._warn("this model takes no guidance (schnell); --guidance is not used")
            return 0.0
        guidance = GUIDANCE if request.guidance is None else request.guidance
        if not math.isfinite(guidance):
            raise RequestError(f"guidance must be a number; got {guidance}")
        if request.negative and len(self.branches(request)) == 1:
            self._warn(
                "the negative prompt is not read: this model's guidance is distilled; "
                "--set true_cfg=4 runs classifier-free guidance"
            )
        return guidance

    def _decode(self, request: Request, branch: str) -> tuple[tuple[Token, ...], str | None]:
        """Return T5's tokens, with the words of the prompt as it was typed."""
        return decode(
            self.pipe.tokenizer_2,
            request.negative or "" if branch == "uncond" else request.prompt,
            segment="t5",
            start=0,
            length=self._text_length(),
            convert=self.pipe.maybe_convert_prompt,
        )

    def _encoder(self, requests: Sequence[Request]) -> Encoder:
        """Return T5 with the tokens that it is to read."""
        ids = {
            branch: [
                tuple(token.id for token in self._decode(request, branch)[0])
                for request in requests
            ]
            for branch in self.branches(requests[0])
        }
        encoder, tokenizer = self.pipe.text_encoder_2, self.pipe.tokenizer_2
        return Encoder("text_encoder_2", encoder, "t5", tokenizer, ids)

    def _text_length(self) -> int:
        longest = LONGEST if self.is_guided else SCHNELL_LONGEST
        return self.options.t5_tokens or longest

    def _segments(self, request: Request) -> tuple[Segment, Segment]:
        rows, columns = (request.height or 0) // self.pixels, (request.width or 0) // self.pixels
        length = self._text_length()
        image = Segment("image", "image", length, length + rows * columns, (rows, columns))
        return Segment("t5", "text", 0, length), image

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    @contextmanager
    def _announced(self, requests: Sequence[Request], on_call: OnCall | None) -> Iterator[None]:
        """Tell of every forward of the transformer: each branch is a call of its own."""
        if on_call is None:
            yield
            return
        branches = self.branches(requests[0])
        samples = range(len(requests) * requests[0].images)
        calls = 0

        def announce(module: nn.Module, args: tuple[Any, ...]) -> None:
            nonlocal calls
            step, place = divmod(calls, len(branches))
            calls += 1
            scheduler = self.pipe.scheduler
            on_call(
                Call(
                    tower="denoiser",
                    step=step,
                    timestep=float(scheduler.timesteps[step]),
                    noise=float(scheduler.sigmas[step]),
                    rows=tuple((branches[place], sample) for sample in samples),
                )
            )

        handle = self.model.register_forward_pre_hook(announce)
        try:
            yield
        finally:
            handle.remove()
