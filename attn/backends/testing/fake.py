"""A backend whose model is made on the spot: all that is irregular, nothing to load."""
# ruff: noqa: TID253 - imported with its backend

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from attn.backends.testing.tokens import SEGMENT, tokenize
from attn.backends.testing.toy import CHANNELS, HEAD_DIM, TEXT_LENGTH, ToyAttention, ToyModel
from attn.backends.types import (
    AUTOMATIC,
    Backend,
    ModelInfo,
    OnCall,
    Output,
    Placement,
    Session,
    image_seed,
)
from attn.engine.refuse import refuse_weightless
from attn.errors import ModelError, RequestError
from attn.schema import Call, Grid, Kind, Layer, Request, Segment
from attn.schema import Sequence as TokenSequence

PATCH = 8
"""Pixels per token and side."""
TIMESTEPS = 1000.0
_DTYPES = {
    "auto": torch.float32,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class FakeOptions:
    """Options of the fake family."""

    weights_seed: int = field(default=0, metadata={"help": "which random weights"})
    second_order: bool = field(
        default=True, metadata={"help": "correct every step by a second call"}
    )
    skip_block: int | None = field(
        default=1, metadata={"help": "block that an extra guided call per step leaves out (0 to 2)"}
    )
    skip_scale: float = field(default=0.5, metadata={"help": "strength of that guidance"})

    def __post_init__(self) -> None:
        if self.skip_block not in (None, 0, 1, 2):
            raise ValueError(f"skip_block must be 0, 1, 2 or none; got {self.skip_block}")


class FakeSession(Session):
    """Guided in separate calls, by two towers, with a second call in all steps but the last."""

    def __init__(
        self, model: ToyModel, info: ModelInfo, options: FakeOptions, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.info = info
        self.options = options
        self._dtype = dtype

    def complete(self, request: Request) -> Request:
        """Fill in steps, guidance and size; see `Session.complete`."""
        width, height = request.width or 11 * PATCH, request.height or 7 * PATCH
        steps = 3 if request.steps is None else request.steps
        if min(width, height) < PATCH or width % PATCH or height % PATCH:
            raise RequestError(
                f"size {width}x{height}: width and height must be divisible by {PATCH}"
            )
        if steps < 1 or request.images < 1:
            raise RequestError(
                f"steps and images must be at least 1; got {steps} and {request.images}"
            )
        if request.scheduler not in (None, "default"):
            raise RequestError(
                f"no scheduler '{request.scheduler}'; the fake backend has only 'default'"
            )
        return replace(
            request,
            negative=request.negative or "",
            steps=steps,
            guidance=3.0 if request.guidance is None else request.guidance,
            width=width,
            height=height,
            scheduler="default",
        )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; with guidance `uncond` too, and `skip` if a block is to be left out."""
        if request.guidance is None or request.guidance <= 1:
            return ("cond",)
        return ("cond", "uncond") if self.options.skip_block is None else ("cond", "uncond", "skip")

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the denoiser and, though it runs before it, the controlnet second."""
        return {"denoiser": self.model.denoiser, "controlnet": self.model.controlnet}

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return joint, self and cross of the denoiser, cross and self of the controlnet."""
        text = Segment(SEGMENT, "text", 0, TEXT_LENGTH)
        fine = _grid(request)
        image, coarse = _image(fine), _image((-(-fine[0] // 2), -(-fine[1] // 2)))
        both = (text, _image(fine, start=TEXT_LENGTH))
        return (
            self._layer(0, "denoiser", "blocks.0.attend", "joint", both, both),
            self._layer(1, "denoiser", "blocks.1.attend", "self", (image,), (image,)),
            self._layer(2, "denoiser", "blocks.2.attend", "cross", (image,), (text,)),
            self._layer(3, "controlnet", "read.attend", "cross", (coarse,), (text,)),
            self._layer(4, "controlnet", "think.attend", "self", (coarse,), (coarse,)),
        )

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the text, then the image."""
        tokens, cut = tokenize(request.prompt_of(branch))
        segments = (
            Segment(SEGMENT, "text", 0, TEXT_LENGTH),
            _image(_grid(request), start=TEXT_LENGTH),
        )
        return TokenSequence(segments, tokens, {SEGMENT: cut} if cut else {})

    def check(self) -> None:
        """Refuse a session without weights."""
        refuse_weightless(self.model)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Follow the velocity from noise to data; see `Session.generate`."""
        sampler = _Sampler(self, requests, on_call or _unheard)
        images = list(map(_pixels, sampler.run()))
        count = requests[0].images
        return [Output(tuple(images[i * count : (i + 1) * count])) for i in range(len(requests))]

    def _layer(
        self,
        index: int,
        tower: str,
        path: str,
        kind: Kind,
        queries: tuple[Segment, ...],
        keys: tuple[Segment, ...],
    ) -> Layer:
        module = self.towers()[tower].get_submodule(path)
        if not isinstance(module, ToyAttention):
            raise TypeError(path)
        return Layer(
            index=index,
            tower=tower,
            path=path,
            kind=kind,
            num_heads=module.num_heads,
            queries=queries,
            keys=keys,
            head_dim=HEAD_DIM,
            num_key_heads=module.num_key_heads,
        )


class FakeBackend(Backend):
    """Opens `demo` or any other name as random weights."""

    Options = FakeOptions
    example_prompt = "a red cat on a wooden chair"

    def open(
        self, source: str | Path | object, options: FakeOptions, placement: Placement = AUTOMATIC
    ) -> FakeSession:
        """Make the model; see `Backend.open`."""
        if placement.offload != "none":
            raise ModelError("the fake backend has nothing to offload")
        device = "cpu" if placement.device == "auto" else placement.device
        dtype = _DTYPES[placement.dtype]
        model = ToyModel(options.weights_seed).eval()
        model = model.to(device if placement.weights else "meta", dtype)
        parameters = sum(parameter.numel() for parameter in model.denoiser.parameters())
        kind = str(dtype).removeprefix("torch.")
        revision = {"revision": f"weights-seed-{options.weights_seed}"}
        return FakeSession(
            model,
            ModelInfo(str(source), lambda: revision, kind, parameters),
            options,
            dtype,
        )


class _Sampler:
    """One generation: Heun's method, towers called and announced one branch at a time."""

    def __init__(self, session: FakeSession, requests: Sequence[Request], on_call: OnCall) -> None:
        self._session = session
        self._requests = requests
        self._on_call = on_call
        self._device = next(session.model.parameters()).device
        block = session.options.skip_block
        self._skip = () if block is None else (block,)
        self._texts = {branch: self._read(branch) for branch in session.branches(requests[0])}

    def run(self) -> Tensor:
        """Return the finished latents, (sample, channel, row, column)."""
        latents = self._noise()
        steps = self._requests[0].steps or 0
        for step in range(steps):
            noise, after = 1 - step / steps, 1 - (step + 1) / steps
            velocity = self._velocity(step, noise, latents)
            if self._session.options.second_order and step < steps - 1:
                guess = latents + (after - noise) * velocity
                velocity = (velocity + self._velocity(step, after, guess)) / 2
            latents = latents + (after - noise) * velocity
        return latents

    def _velocity(self, step: int, noise: float, latents: Tensor) -> Tensor:
        """Run controlnet and denoiser for every branch, and guide."""
        velocity: dict[str, Tensor] = {}
        for branch in ("uncond", "cond", "skip"):  # the last uses the hint of `cond`
            if branch not in self._texts:
                continue
            text, padding = self._texts[branch]
            if branch != "skip":
                self._announce("controlnet", branch, step, noise)
                hint = self._session.model.controlnet(latents, text, noise)
            skip = self._skip if branch == "skip" else ()
            self._announce("denoiser", branch, step, noise, skip)
            denoiser = self._session.model.denoiser
            velocity[branch] = denoiser(latents, text, padding, noise, hint, skip)
        return self._guide(velocity)

    def _guide(self, velocity: Mapping[str, Tensor]) -> Tensor:
        cond = guided = velocity["cond"]
        if "uncond" in velocity:
            guided = velocity["uncond"] + (self._requests[0].guidance or 1) * (
                cond - velocity["uncond"]
            )
        if "skip" in velocity:
            guided = guided + self._session.options.skip_scale * (cond - velocity["skip"])
        return guided

    def _announce(
        self, tower: str, branch: str, step: int, noise: float, skip: tuple[int, ...] = ()
    ) -> None:
        samples = len(self._requests) * self._requests[0].images
        self._on_call(
            Call(
                tower=tower,
                step=step,
                timestep=TIMESTEPS * noise,
                noise=noise,
                rows=tuple((branch, sample) for sample in range(samples)),
                skipped_layers=tuple(f"blocks.{block}" for block in skip),
            )
        )

    def _read(self, branch: str) -> tuple[Tensor, Tensor]:
        """Return the text of every sample, and where it is padding."""
        tokens = [
            tokenize(request.prompt_of(branch))[0]
            for request in self._requests
            for _ in range(request.images)
        ]
        ids = torch.tensor([[token.id for token in row] for row in tokens], device=self._device)
        padding = torch.tensor(
            [[token.padding for token in row] for row in tokens], device=self._device
        )
        return self._session.model.text(ids), padding

    def _noise(self) -> Tensor:
        return torch.stack(list(self._draws())).to(self._device, self._session._dtype)

    def _draws(self) -> Iterator[Tensor]:
        for request in self._requests:
            for image in range(request.images):
                generator = torch.Generator().manual_seed(image_seed(request.seed, image))
                yield torch.randn(CHANNELS, *_grid(request), generator=generator)


def _unheard(call: Call) -> None:
    """Nobody listens."""


def _grid(request: Request) -> Grid:
    return (request.height or 0) // PATCH, (request.width or 0) // PATCH


def _image(grid: Grid, start: int = 0) -> Segment:
    return Segment("image", "image", start, start + grid[0] * grid[1], grid)


def _pixels(latents: Tensor) -> Image.Image:
    """Show the three channels as red, green and blue, PATCH pixels per token."""
    pixels = (latents.float().sigmoid() * 255).round().to(torch.uint8)
    pixels = pixels.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
