"""A loaded pipeline of diffusers: completing requests, reading prompts, generating."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from attn.backends.diffusers import adapters, components, pictures, samplers, schedules
from attn.backends.diffusers.calls import SKIP, Guidance, Pipeline, Tower, announcing, forwards
from attn.backends.diffusers.concepts import ConceptSession
from attn.backends.diffusers.finite import finite_steps
from attn.backends.diffusers.forming import formed
from attn.backends.diffusers.sharing import alone, in_one_thread
from attn.backends.diffusers.sizes import check_size
from attn.backends.diffusers.texts.emphasis import token_weights, weighted
from attn.backends.diffusers.texts.encoders import unknown_tokens
from attn.backends.diffusers.texts.prompt_syntax import foreign_syntax
from attn.backends.diffusers.texts.prompts import EncoderInput, Prompts
from attn.backends.diffusers.texts.templates import Template
from attn.backends.diffusers.texts.tokens import Convert
from attn.backends.loading.quiet import quiet
from attn.backends.types import ModelInfo, OnCall, Output, image_seed
from attn.engine.refuse import refuse_weightless
from attn.errors import RequestError
from attn.schema import UNCOND, Lora, Request, Segment
from attn.schema import Sequence as TokenSequence


class DiffusersSession(ConceptSession):
    """A text-to-image pipeline of diffusers with one denoiser.

    A family says what its pipeline is in class attributes, lays out its sequence in `text_segments`
    and `layers`, and overrides what differs from the usual in the methods after them. Completing,
    reading prompts, LoRAs, schedulers, seeds, announcing calls, and the checks of labels, numbers
    and noise are done here.
    """

    denoiser: ClassVar[str]
    """Attribute of the pipeline that holds the denoiser."""
    input_name: ClassVar[str] = "hidden_states"
    """Name of the denoiser's argument that holds the noisy latents, where it is not the first."""
    default_steps: int
    default_guidance: float
    multiple: int
    """Width and height must be divisible by this, in pixels."""
    lora_families: ClassVar[tuple[str, ...]]
    """Which LoRAs fit, as `attn.lora` names their family; the usual one first."""
    lora_towers: ClassVar[Mapping[str, str]] = {}
    """By the name of a text encoder in LoRAs, the pipeline's component, where they differ."""
    encoders: ClassVar[Mapping[str, tuple[str, ...]]] = {"clip": ("", "_2")}
    """By text segment, the endings of the pipeline's `tokenizer…` and `text_encoder…` that fill it;
    positions are labelled by the first, and those that a pipeline lacks are left out, but for the
    first segment's, without which no prompt is read. One without endings holds learned vectors."""
    templates: ClassVar[Mapping[str, Template]] = {}
    """By text segment, how its encoder, a chat model, is given the prompt."""
    guidance: ClassVar[Guidance] = "batch"
    """How the pipeline runs its guidance rows: `batch` stacks them in one forward, uncond first;
    `cond first` likewise, the other way round; `calls` runs a forward for each, cond first."""
    custom_sigmas: ClassVar[bool] = False
    """Whether the pipeline gives its scheduler the noise levels, which not all schedulers take."""
    repeats_prompts: ClassVar[bool] = False
    """Whether each image is given its prompt: of several of one, some pipelines mix up masks."""
    takes_turns: ClassVar[bool] = False
    """Whether one of the towers runs at each noise level, not all of them."""
    unread_negative: ClassVar[str] = "guidance is off, so the negative prompt is not read"
    """What the user is told of a negative prompt where no row `uncond` runs."""
    shows_pictures = True
    needed_picture: str = ""
    """What its pipeline draws nothing without: `picture`, or `mask`: a picture with one."""
    _forms = True
    """Whether pictures form step by step, from noise to the end of the schedule."""
    _skipped_calls = 0
    """Forwards that the schedule begins with, and that a picture drawn further does not run."""

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        self.pipe = pipe
        self.info = info
        self.options = options
        self.warnings = tuple(components.remarks(pipe, self.model))
        self.scheduler = pipe.scheduler
        self._adapters = adapters.Adapters(
            pipe, self.denoiser, self.lora_families, self.lora_towers
        )
        self._prompts = Prompts(pipe, self.encoders, self.converter, self.templates)
        self._prompts.require(next(iter(self.encoders)))
        self._gave_way = ""

    @property
    def model(self) -> Any:
        """The denoiser."""
        return getattr(self.pipe, self.denoiser)

    # What a family must say

    @abstractmethod
    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the segments that text encoders fill, named as in `encoders`.

        Called for completed requests, whose size may move them.
        """

    # What a family may say

    @property
    def converter(self) -> Convert | None:
        """What makes of (prompt, tokenizer) the text that is tokenized; None where that is typed.

        Usually the pipeline's `maybe_convert_prompt`. What is done by `replace`, `lower` and
        `strip` alone leaves the tokens at the characters that were typed.
        """
        convert: Convert | None = getattr(self.pipe, "maybe_convert_prompt", None)
        return convert

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the denoiser, the one tower unless a family adds others that run before it."""
        return {"denoiser": self.model}

    def tower_branches(self, tower: str, request: Request) -> tuple[str, ...]:
        """Return the guidance rows that one tower runs, `cond` first."""
        return self.branches(request)

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`, and `uncond` where guidance is above 1."""
        guided = request.guidance is not None and request.guidance > 1
        return ("cond", "uncond") if guided else ("cond",)

    def branch_text(self, request: Request, branch: str) -> str | None:
        """Return the text that the encoders read for a branch; None if zeros replace it."""
        is_zero = branch == UNCOND and request.negative is None and self.zeroes_uncond
        return None if is_zero else request.prompt_of(branch)

    @property
    def zeroes_uncond(self) -> bool:
        """Whether zeros, not an empty text, stand in `uncond` for a negative prompt of None."""
        return False

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return arguments of the pipeline's call beyond the usual ones, or in their place.

        Called once for each batch, before it runs; the usual ones are those of
        `pipeline_arguments`.
        """
        return {}

    def skipped_paths(self, keywords: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the paths of modules that one forward of the denoiser leaves out.

        Args:
            keywords: of that forward; one that leaves something out is of the branch `skip`.
        """
        return ()

    def default_side(self) -> int:
        """Return the width and height of a picture when none is asked for, in pixels."""
        return int(self.model.config.sample_size * self.pipe.vae_scale_factor)

    def announced(
        self, requests: Sequence[Request], on_call: OnCall | None
    ) -> AbstractContextManager[list[str]]:
        """Tell `on_call` of every forward in a block; the LoRAs are in the model by then.

        Returns:
            a context manager that gives the list of the samples' noise; see `Output.noise`.
        """
        first = requests[0]
        pipeline = Pipeline(
            self.pipe.scheduler,
            self.input_name,
            self.skipped_paths,
            len(requests) * first.images,
            self._prompts.row_lengths(self.branch_texts(requests), first.images),
            lambda: self._skipped_calls,
            self.concept_states,
            self.takes_turns,
        )
        towers = [
            Tower(name, module, forwards(self.tower_branches(name, first), self.guidance))
            for name, module in self.towers().items()
        ]
        return announcing(towers, pipeline, on_call)

    def pictured(self, answer: Any) -> tuple[Sequence[Any], Sequence[tuple[Any, ...]]]:
        """Return the pictures of what the pipeline answered, and the frames of videos, if any."""
        return answer.images, ()

    # What a family uses

    def templated_segments(self, request: Request, start: int) -> tuple[Segment, ...]:
        """Return the segments of a text in its template, with room for every guidance row."""
        return self._prompts.room(self.branch_texts([request]), start)

    def read_text(self, request: Request, branch: str) -> EncoderInput:
        """Return the tokens of a branch's text segments, what was cut off of each, and warnings."""
        text, segments = self.branch_text(request, branch), self.text_segments(request)
        reading = self._prompts.read(text, segments, branch)
        texts = (text for (text,) in self.branch_texts([request]).values())
        syntax = (remark for text in texts for remark in foreign_syntax(text))
        return replace(reading, warnings=tuple(dict.fromkeys([*reading.warnings, *syntax])))

    def branch_texts(self, requests: Sequence[Request]) -> dict[str, list[str]]:
        """Return the texts encoded for a batch, by branch, in the order of the pipelines."""
        texts = {
            row: [
                text for request in requests if (text := self.branch_text(request, row)) is not None
            ]
            for row in self.branches(requests[0])
            if row != SKIP
        }
        return {row: read for row, read in texts.items() if read}

    def pipeline_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return all arguments of the pipeline's call for a batch."""
        first = requests[0]
        has_negative = len(self.branches(first)) > 1 and first.negative is not None
        times = first.images if self.repeats_prompts else 1
        each = [request for request in requests for _ in range(times)]
        usual = {
            "prompt": [request.prompt for request in each],
            "negative_prompt": [request.negative for request in each] if has_negative else None,
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "width": first.width,
            "height": first.height,
            "num_images_per_prompt": first.images // times,
            "generator": [
                torch.Generator().manual_seed(image_seed(request.seed, image))
                for request in requests
                for image in range(first.images)
            ],
            **self.extra_arguments(requests),
        }
        return pictures.arguments(self.pipe, first, usual, len(each))

    @property
    def prediction(self) -> str | None:
        """What the scheduler takes the denoiser to predict: `v` or `epsilon`; None in flows."""
        return schedules.predicted(self.scheduler)

    def predict(self, prediction: str, *, zero_snr: bool) -> None:
        """Sample a model that predicts something else than its scheduler's configuration says."""
        before = self.scheduler
        self.scheduler = schedules.predicting(before, prediction, zero_snr=zero_snr)
        if type(self.scheduler) is not type(before):
            self._gave_way = (
                f"{type(before).__name__} cannot begin with pure noise (zero-terminal SNR); "
                f"{type(self.scheduler).__name__} is used unless --scheduler names another"
            )

    # What every backend answers

    def complete(self, request: Request) -> Request:
        """Fill in steps, guidance and size, and check the LoRAs; see `Session.complete`."""
        request = pictures.complete(self, request)
        width = self.default_side() if request.width is None else request.width
        height = self.default_side() if request.height is None else request.height
        check_size(width, height, self.multiple)
        steps = self.default_steps if request.steps is None else request.steps
        if steps < 1 or request.images < 1:
            raise RequestError(
                f"steps and images must be at least 1; got {steps} and {request.images}"
            )
        guidance = self.default_guidance if request.guidance is None else request.guidance
        if not math.isfinite(guidance):
            raise RequestError(f"guidance must be a number; got {guidance}")
        is_guided = len(self.branches(replace(request, guidance=guidance))) > 1
        has_zeros = (
            request.negative is None and is_guided and self.branch_text(request, "uncond") is None
        )
        return replace(
            request,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            negative=None if has_zeros else request.negative or "",
            scheduler=self._complete_scheduler(request.scheduler, steps),
            concepts=self.complete_concepts(request),
            loras=self._complete_loras(request),
        )

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell of a negative prompt, a sampler and LoRAs; see `Session.remarks`."""
        is_unread = completed.negative and len(self.branches(completed)) == 1
        gives_way = self._gave_way and request.scheduler is None
        scheduler = samplers.choose(self.scheduler, request.scheduler or "default")
        return (
            *([self.unread_negative] if is_unread else []),
            *([self._gave_way] if gives_way else []),
            *components.sampler_remarks(scheduler),
            *self._misfits(completed.loras),
            *pictures.remarks(completed),
        )

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the text segments alone, as cross-attention reads them; zeros have no tokens."""
        read = self.read_text(request, branch)
        segments = self.text_segments(request)
        return TokenSequence(segments, read.tokens, read.truncated, read.warnings)

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline on a batch; see `Session.generate`."""
        return pictures.show(self, requests, on_call)

    def _run(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline that is there, on a batch."""
        first, segments = requests[0], self.text_segments(requests[0])
        is_on = on_call is not None and self._forms and self.keeps_forming
        with (
            alone(self.pipe),
            quiet(),
            components.left_out(self.pipe),
            self._adapters.active(self._scaled(first.loras)),
            self._scheduled(first),
            self.conceiving(first),
            self._prompts.checked(self.branch_texts(requests), segments, self.model) as unknown,
            self._weighted(requests) as told,
            finite_steps(self.model, self.pipe.scheduler, self.pipe.vae),
            formed(self.pipe, self.watch, is_on=is_on) as seen,
            self.announced(requests, on_call) as noise,
        ):
            answer = self.pipe(**self.pipeline_arguments(requests))
        images, videos = self.pictured(answer)
        parts = [slice(at, at + first.images) for at in range(0, len(images), first.images)]
        return [
            Output(
                tuple(images[part]),
                noise=tuple(noise[part]),
                forming=tuple(seen.frames[part]),
                unknown=frozenset(unknown),
                warnings=(*(unknown_tokens(*at) for at in sorted(unknown)), *told, *seen.warnings),
                videos=tuple(videos[part]),
            )
            for part in parts
        ]

    def check(self) -> None:
        """Refuse meta-device models; see `Session.check`."""
        refuse_weightless(self.model)

    def _complete_scheduler(self, name: str | None, steps: int) -> str:
        """Return the title of the scheduler that a name stands for, or the model's own."""
        scheduler = samplers.choose(self.scheduler, name or "default")
        if self.custom_sigmas:
            schedules.require_sigmas(scheduler, type(self.pipe).__name__)
        schedules.check_steps(scheduler, steps)
        return samplers.title(self.scheduler, name or "default")

    def _complete_loras(self, request: Request) -> tuple[Lora, ...]:
        """Return LoRAs completed, as they were asked for; options of the run are not in them."""
        if not request.loras:
            return ()
        completed, _ = self._adapters.complete(request.loras)
        self._misfits(completed)  # scales that the options make impossible are refused
        return completed

    def _misfits(self, loras: tuple[Lora, ...]) -> tuple[str, ...]:
        """Describe the parts of completed LoRAs that do not fit, scaled as they act."""
        return self._adapters.complete(self._scaled(loras))[1] if loras else ()

    def _scaled(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """Return LoRAs as they act, with the option that scales their parts, if there is one."""
        return adapters.scaled(loras, getattr(self.options, "lora_text_encoder_scale", None))

    def _weighted(self, requests: Sequence[Request]) -> AbstractContextManager[list[str]]:
        """Apply the weights of words in a block; where there are none, nothing is touched."""
        emphases = {
            "cond": [request.emphasis for request in requests],
            "uncond": [request.negative_emphasis for request in requests],
        }
        weights = {
            branch: torch.tensor(
                [
                    token_weights(self.read_text(request, branch).tokens, emphasis)
                    for request, emphasis in zip(requests, emphases[branch], strict=True)
                ]
            )
            for branch in self.branch_texts(requests)
            if any(emphases.get(branch, ()))
        }
        if not weights:
            return nullcontext([])
        return weighted(self.pipe, weights, self._prompts.parts(self.text_segments(requests[0])))

    @contextmanager
    def _scheduled(self, request: Request) -> Iterator[None]:
        """Lend the pipeline, which may be the user's own, the scheduler that was asked for."""
        before = self.pipe.scheduler
        self.pipe.scheduler = samplers.choose(self.scheduler, request.scheduler or "default")
        try:
            with in_one_thread(self.pipe.scheduler):
                yield
        finally:
            self.pipe.scheduler = before
