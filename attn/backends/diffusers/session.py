"""What the diffusers families share: opening, announcing calls, generating."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from torch import nn

from attn import demo
from attn.backends.diffusers import adapters, components, samplers, schedules
from attn.backends.diffusers.encoders import unknown_tokens
from attn.backends.diffusers.finite import finite_steps
from attn.backends.diffusers.prompt_syntax import foreign_syntax
from attn.backends.diffusers.prompts import Prompts
from attn.backends.diffusers.sharing import LOAD_TWICE, alone
from attn.backends.loading import pipeline
from attn.backends.loading import recipe as recipes
from attn.backends.loading import source as sources
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
)
from attn.backends.loading.explain import explained
from attn.backends.loading.family import Family, given_parts
from attn.backends.loading.quiet import quiet
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.types import Backend, ModelInfo, OnCall, Output, Session, image_seed
from attn.checkpoints.inventory import PIPELINES
from attn.engine.refuse import refuse_unobservable
from attn.errors import CaptureError, ModelError, RequestError, UsageError
from attn.schema import Call, Lora, Request, Segment, Token

LARGEST_SIDE = 16384
"""Beyond any model's reach; larger numbers are typing errors that would only fill the memory."""


class DiffusersSession(Session):
    """A text-to-image pipeline of diffusers with one denoiser and guidance rows [uncond, cond]."""

    denoiser: ClassVar[str]
    """Attribute of the pipeline that holds the denoiser."""
    input_name: ClassVar[str]
    """Name of the denoiser's argument that holds the noisy latents."""
    default_steps: ClassVar[int]
    default_guidance: float
    multiple: ClassVar[int]
    """Width and height must be divisible by this."""
    lora_families: ClassVar[tuple[str, ...]]
    """Which LoRAs fit, as `attn.lora` names their family."""
    encoders: ClassVar[Mapping[str, tuple[str, ...]]] = {"clip": ("", "_2")}
    """By text segment, the endings of the pipeline's `tokenizer…` and `text_encoder…` that fill it;
    positions are labelled by the first, and those that a pipeline lacks are left out."""

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        self.pipe = pipe
        self.info = info
        self.options = options
        self.warnings = list(components.remarks(pipe, self.model))
        self._device = device
        self._scheduler = pipe.scheduler
        self._adapters = adapters.Adapters(pipe, self.denoiser, self.lora_families)
        self._prompts = Prompts(pipe, self.encoders)
        self._gave_way = ""

    @property
    def model(self) -> Any:
        """The denoiser."""
        return getattr(self.pipe, self.denoiser)

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the denoiser, the one tower unless a family adds others that run before it."""
        return {"denoiser": self.model}

    def tower_branches(self, tower: str, request: Request) -> tuple[str, ...]:
        """Return the guidance rows that one tower runs, `cond` first."""
        return self.branches(request)

    def complete(self, request: Request) -> Request:
        """Fill in steps, guidance and size, and check the LoRAs; see `Session.complete`."""
        width = self._default_side() if request.width is None else request.width
        height = self._default_side() if request.height is None else request.height
        _check_size(width, height, self.multiple)
        steps = self.default_steps if request.steps is None else request.steps
        if steps < 1 or request.images < 1:
            raise RequestError(
                f"steps and images must be at least 1; got {steps} and {request.images}"
            )
        guidance = self.default_guidance if request.guidance is None else request.guidance
        if not math.isfinite(guidance):
            raise RequestError(f"guidance must be a number; got {guidance}")
        is_guided = len(self.branches(replace(request, guidance=guidance))) > 1
        if request.negative and not is_guided:
            self._warn("guidance is off, so the negative prompt is not read")
        has_zeros = request.negative is None and is_guided and self._zeroes_uncond
        if self._gave_way and request.scheduler is None:
            self._warn(self._gave_way)
        scheduler = samplers.choose(self._scheduler, request.scheduler or "default")
        schedules.check_steps(scheduler, steps)
        loras = self._complete_loras(request.loras) if request.loras else ()
        return replace(
            request,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            negative=None if has_zeros else request.negative or "",
            scheduler=samplers.title(self._scheduler, request.scheduler or "default"),
            loras=loras,
        )

    def _complete_loras(self, loras: tuple[Lora, ...]) -> tuple[Lora, ...]:
        """Return LoRAs completed, as they were asked for; options of the run are not in them."""
        completed, _ = self._adapters.complete(loras)
        _, misfits = self._adapters.complete(self._scaled(completed))
        for warning in misfits:
            self._warn(warning)
        return completed

    def _scaled(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        return adapters.scaled(loras, self.options.lora_text_encoder_scale)

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`, and `uncond` where guidance is above 1."""
        guided = request.guidance is not None and request.guidance > 1
        return ("cond", "uncond") if guided else ("cond",)

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the pipeline on a batch; see `Session.generate`."""
        first, segments = requests[0], self._text_segments(requests[0])
        with (
            alone(self.pipe),
            quiet(),
            components.left_out(self.pipe),
            self._adapters.active(self._scaled(first.loras)),
            self._scheduled(first),
            self._prompts.checked(self._texts(requests), segments, self.model) as unknown,
            finite_steps(self.model, self.pipe.scheduler, self.pipe.vae),
            self._announced(requests, on_call) as noise,
        ):
            pictures = self.pipe(**self._call(requests)).images
        for where in sorted(unknown):
            self._warn(unknown_tokens(*where))
        parts = [slice(at, at + first.images) for at in range(0, len(pictures), first.images)]
        return [
            Output(tuple(pictures[part]), noise=tuple(noise[part]), unknown=frozenset(unknown))
            for part in parts
        ]

    def check(self) -> None:
        """Refuse meta-device models; see `Session.check`."""
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise CaptureError("this session was opened without weights; it can plan, not generate")
        self._prompts.require("clip")

    @property
    def prediction(self) -> str | None:
        """What the scheduler takes the denoiser to predict: `v` or `epsilon`; None in flows."""
        return schedules.predicted(self._scheduler)

    def predict(self, prediction: str, *, zero_snr: bool) -> None:
        """Sample a model that predicts something else than its scheduler's configuration says."""
        before = self._scheduler
        self._scheduler = schedules.predicting(before, prediction, zero_snr=zero_snr)
        if type(self._scheduler) is not type(before):
            self._gave_way = (
                f"{type(before).__name__} cannot begin with pure noise (zero-terminal SNR); "
                f"{type(self._scheduler).__name__} is used unless --scheduler names another"
            )

    def _text(self, request: Request, branch: str) -> str | None:
        """Return what the text encoders read for a branch; None if zeros take its place."""
        if branch != "uncond":
            return request.prompt
        return None if request.negative is None and self._zeroes_uncond else request.negative or ""

    def _texts(self, requests: Sequence[Request]) -> dict[str, list[str]]:
        """Return what is encoded for a batch, by branch, in the order of the pipelines."""
        branches = self.branches(requests[0])
        rows = [row for row in branches if row != "skip"]  # which reads what cond reads
        texts = {
            row: [text for request in requests if (text := self._text(request, row)) is not None]
            for row in rows
        }
        return {row: own for row, own in texts.items() if own}

    @abstractmethod
    def _text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the segments that text encoders fill."""

    def _read(self, request: Request, branch: str) -> tuple[tuple[Token, ...], dict[str, str]]:
        """Return the tokens of a branch's text segments, and what was cut off of each."""
        reading = self._prompts.read(self._text(request, branch), self._text_segments(request))
        texts = (text for (text,) in self._texts([request]).values())
        syntax = (remark for text in texts for remark in foreign_syntax(text))
        for warning in (*reading.warnings, *syntax):
            self._warn(warning)
        return reading.tokens, reading.truncated

    def _call(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the arguments of the pipeline."""
        first = requests[0]
        has_negative = len(self.branches(first)) > 1 and first.negative is not None
        return {
            "prompt": [request.prompt for request in requests],
            "negative_prompt": [request.negative for request in requests] if has_negative else None,
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "width": first.width,
            "height": first.height,
            "num_images_per_prompt": first.images,
            "generator": [
                torch.Generator().manual_seed(image_seed(request.seed, image))
                for request in requests
                for image in range(first.images)
            ],
            **self._arguments(requests),
        }

    @abstractmethod
    def _arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the pipeline's further arguments, which may take the place of the usual ones."""

    @abstractmethod
    def _skipped(self, keywords: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the paths that one forward of the denoiser leaves out."""

    @property
    def _zeroes_uncond(self) -> bool:
        """Whether zeros, not an empty text, stand in `uncond` for a negative prompt of None."""
        return False

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _default_side(self) -> int:
        side = self.model.config.sample_size * self.pipe.vae_scale_factor
        return int(side)

    @contextmanager
    def _scheduled(self, request: Request) -> Iterator[None]:
        """Lend the pipeline, which may be the user's own, the scheduler that was asked for."""
        own = self.pipe.scheduler
        self.pipe.scheduler = samplers.choose(self._scheduler, request.scheduler or "default")
        try:
            yield
        finally:
            self.pipe.scheduler = own

    @contextmanager
    def _announced(
        self, requests: Sequence[Request], on_call: OnCall | None
    ) -> Iterator[list[str]]:
        """Tell of every call; yield what will say with which noise each sample began."""
        if on_call is None:
            yield []
            return
        announcers = {name: _Announcer(self, name, requests, on_call) for name in self.towers()}
        handles = [
            tower.register_forward_pre_hook(announcers[name], with_kwargs=True)
            for name, tower in self.towers().items()
        ]
        try:
            yield announcers["denoiser"].noise
        finally:
            for handle in handles:
                handle.remove()


class _Announcer:
    """A forward pre-hook on a tower that says what runs next."""

    def __init__(
        self, session: DiffusersSession, tower: str, requests: Sequence[Request], on_call: OnCall
    ) -> None:
        self._session = session
        self._tower = tower
        self._on_call = on_call
        self._samples = len(requests) * requests[0].images
        branches = session.tower_branches(tower, requests[0])[::-1]  # as diffusers runs them
        self._branches = tuple(branch for branch in branches if branch != "skip")
        self._calls = -1
        self._steps: list[int] = []
        self._thread = get_ident()
        self.noise: list[str] = []

    def __call__(self, module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if get_ident() != self._thread:
            raise CaptureError(f"the {self._tower} is recorded in another thread; {LOAD_TWICE}")
        scheduler = self._session.pipe.scheduler
        skipped = self._session._skipped(keywords)
        if not skipped:
            self._calls += 1
        self._steps = self._steps or schedules.call_steps(scheduler)
        given = args[0] if args else keywords[self._session.input_name]
        batch = given.shape[0]
        if not self.noise:
            self.noise += [_sha256(one) for one in given[-self._samples :]]
        timestep = float(scheduler.timesteps[self._calls])
        self._on_call(
            Call(
                tower=self._tower,
                step=self._steps[self._calls],
                timestep=timestep,
                noise=schedules.noise_left(scheduler, timestep),
                rows=self._rows(batch, bool(skipped)),
                skipped_layers=skipped,
            )
        )

    def _rows(self, batch: int, skips: bool) -> tuple[tuple[str, int], ...]:
        branches = ("skip",) if skips else self._branches
        if batch != len(branches) * self._samples:
            raise CaptureError(
                f"the {self._tower} ran a batch of {batch}; expected {self._samples} samples "
                f"in the branches {', '.join(branches)}"
            )
        return tuple((branch, sample) for branch in branches for sample in range(self._samples))


def _sha256(tensor: torch.Tensor) -> str:
    data = tensor.detach().contiguous().cpu().view(torch.uint8)
    return hashlib.sha256(data.numpy().tobytes()).hexdigest()


class DiffusersBackend(Backend):
    """Opens folders, files, hub ids, demo models and pipelines that are loaded already."""

    family: ClassVar[Family]
    variants: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar[tuple[type[Any], ...]]
    session: ClassVar[type[DiffusersSession]]
    extra: ClassVar[dict[str, Any]] = {}
    """Further arguments of the pipeline's constructor."""

    def note_on_demo(self, model: str) -> str:
        """Return what the user is told of it; see `Backend`."""
        return demo.note(sources.demo_name(model, self.family.name, self.variants))

    def default_model(self, options: Any) -> str:
        """Return the denoiser that the options name, else the demo; see `Backend`."""
        given = given_parts(self.family, options)
        denoiser = self.family.denoiser.name
        if given and denoiser not in given:
            raise UsageError(
                f"{', '.join(given)} of which model? give it with --model, "
                f"or its denoiser with --set {denoiser}=PATH"
            )
        return given.get(denoiser) or super().default_model(options)

    def complete_loras(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """Check LoRA files for the family; see `Backend.complete_loras`."""
        return adapters.complete(loras, self.session.lora_families)

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
        if isinstance(source, DiffusionPipeline):
            return self._adopt(source, options)
        found = sources.resolve(str(source), self.family.name, self.variants)
        if sources.is_drawn(found.path):
            raise ModelError(
                f"{found.asked}: this is a checkpoint of ScribbleDiffusion, which reads a drawing "
                f"beside the text; {self.family.name} would leave that out: use --backend scribble"
            )
        return self.open_source(found, options, device, dtype, offload, weights=weights)

    def open_source(
        self, found: Source, options: Any, device: str, dtype: str, offload: str, *, weights: bool
    ) -> Session:
        """Open a model that was found; see `Backend.open`."""
        device = choose_device(device)
        kind = choose_dtype(dtype, device)
        with explained(f"cannot open {found.asked}"):
            recipe = self._recipe(found, options)
            cls = self._pipeline_class(recipe.roots[0])
            pipe = pipeline.load_pipeline(
                recipe, cls, dtype=kind, weights=weights, extra=self.extra
            )
            pipe.set_progress_bar_config(disable=True)
            if weights:
                _place(pipe, device, offload)
            denoiser = getattr(pipe, self.session.denoiser)
            components.refuse(denoiser)
            identity = sources.fingerprint(recipe.files, found.revision) if weights else dict
            info = ModelInfo(found.asked, identity, dtype_name(kind), count_parameters(denoiser))
            session = self.session(pipe, info, options, device)
            session.warnings.extend(recipe.warnings)
            guide_demo(session, found.asked, self.family.name)
            return self._ready(session, recipe)

    def _recipe(self, found: Source, options: Any) -> Recipe:
        """Find everything that a model is made of."""
        return recipes.collect(found, self.family, options)

    def _adopt(self, pipe: Any, options: Any) -> Session:
        if not isinstance(pipe, self.pipelines):
            raise ModelError(_wrong_family(type(pipe).__name__, self) + _way_out(pipe))
        names = [part.name for part in self.family.parts]
        loading = [n for n in (*names, "config", "tokenizers") if getattr(options, n) is not None]
        if loading:
            raise ModelError(
                f"this pipeline is loaded already; take away the options {', '.join(loading)}"
            )
        denoiser = getattr(pipe, self.session.denoiser)
        components.refuse(denoiser)
        refuse_unobservable(denoiser, self.session.denoiser)
        source = str(pipe.config.get("_name_or_path") or type(pipe).__name__)
        info = ModelInfo(source, dict, dtype_name(denoiser.dtype), count_parameters(denoiser))
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                part.eval()
        return self._ready(self.session(pipe, info, options, str(pipe.device)), None)

    def _pipeline_class(self, folder: Path) -> type[Any]:
        name = sources.read_index(folder)["_class_name"]
        for cls in self.pipelines:
            if cls.__name__ == name:
                return cls
        raise ModelError(f"{folder}: {_wrong_family(name, self)}")

    def _ready(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Let the family finish a session; a pipeline that was loaded already has no recipe."""
        return session


def guide_demo(session: DiffusersSession, asked: str, family: str) -> None:
    """Let a trained demo model draw with its own guidance by default.

    Args:
        session: of any model.
        asked: what the user typed for it.
        family: by whose name demo models are known.
    """
    if asked.partition(":")[0] == "demo":
        own = demo.guidance(asked.replace("demo", family, 1))
        session.default_guidance = own or session.default_guidance


def _wrong_family(name: str, backend: DiffusersBackend) -> str:
    other = PIPELINES.get(name)
    hint = f"; use --backend {other}" if other else ""
    expected = " or ".join(cls.__name__ for cls in backend.pipelines)
    return f"this is a {name}, not a {expected}{hint}"


def _way_out(pipe: Any) -> str:
    """Say how a loaded pipeline that no backend runs can be recorded."""
    layers = {"unet": "*.attn2", "transformer": "*.attn"}
    towers = [name for name in layers if name in getattr(pipe, "components", {})]
    if type(pipe).__name__ in PIPELINES or not towers:
        return ""
    return (
        "; run it yourself to record it: with attn.tap("
        f"pipe.{towers[0]}, {layers[towers[0]]!r}) as tapped: pipe(…), then tapped.trace"
    )


def _check_size(width: int, height: int, multiple: int) -> None:
    if max(width, height) > LARGEST_SIDE:
        raise RequestError(f"size {width}x{height}: at most {LARGEST_SIDE} pixels a side")
    if width < multiple or height < multiple or width % multiple or height % multiple:
        near = [max(multiple, round(side / multiple) * multiple) for side in (width, height)]
        raise RequestError(
            f"size {width}x{height}: width and height must be divisible by {multiple}; "
            f"the nearest is {near[0]}x{near[1]}"
        )


def _place(pipe: Any, device: str, offload: str) -> None:
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    if device == "cpu":
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                align(part)
