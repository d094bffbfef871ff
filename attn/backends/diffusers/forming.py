"""What a sampler expects of the finished picture at each step, decoded small.

At a step the denoiser's answer says what would be left if all noise were taken away at once, x̂₀:
of the denoiser's input x at noise σ (the part that is noise, 0 to 1; α = √(1 - σ²)) and its guided
answer v

    flow            x - σ v
    epsilon         (x - σ v) / α
    v               α x - σ v
    sample          v

A second-order sampler's first forward of a step counts. x̂₀ is averaged down to `CELLS` cells a side
and decoded by the pipeline's VAE right after the picture, which is made already by then: nothing
that the picture depends on is touched, and no random number is drawn. Packed latents, a list of
patches, are no grid of cells by design: of these there are no frames, which is no warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import wraps
from typing import Any

import numpy as np
import torch
from PIL.Image import Image, Resampling, fromarray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from attn.backends.diffusers import schedules
from attn.backends.diffusers.sharing import replaced
from attn.backends.types import Preview
from attn.errors import ModelError

CELLS = 16
"""Most cells of latents on a side; larger ones are averaged down before they are decoded."""
SIDE = 128
"""Most pixels of a decoded frame on a side."""
MOST_STEPS = 500
"""Steps of which frames are kept."""
Watch = Callable[[Preview], None]
LEFT_OUT = "the forming pictures are left out: {}"


class Forming:
    """What is seen of one batch.

    Attributes:
        frames: by sample, a picture of each step; empty where they are left out.
        warnings: why they are, unless latents are no grid of cells, which nobody can mend.
    """

    def __init__(self, scheduler: Any, vae: Any, watch: Watch | None = None) -> None:
        self.frames: list[tuple[Image, ...]] = []
        self.warnings: tuple[str, ...] = ()
        self._scheduler = scheduler
        self._vae = vae
        self._watch = watch
        self._expected: list[Tensor] = []
        self._latents: Tensor | None = None
        self._steps: list[int] = []
        self._calls = 0
        self._decoder = vae.decode  # without what is around it in `forming`

    def see(self, answer: Tensor, latents: Tensor) -> None:
        """Note what a call of the sampler expects, if it opens a step.

        Args:
            answer: of the denoiser, guided.
            latents: of the sampler.
        """
        scheduler = self._scheduler
        self._steps = self._steps or schedules.call_steps(scheduler)
        level, self._calls = self._calls, self._calls + 1
        if not _is_grid(latents) or level >= len(self._steps):
            return
        if self._steps[level] == len(self._expected):
            timestep = scheduler.timesteps[level]
            self._expected.append(_shrink(expected_picture(scheduler, timestep, answer, latents)))
            self._preview(self._expected[-1])

    def note(self, latents: Tensor) -> None:
        """Note the latents that a call of the sampler returned."""
        self._latents = latents

    def decode(self, decode: Callable[..., Any], finished: Tensor) -> None:
        """Decode what was seen.

        Args:
            decode: of the VAE.
            finished: what the pipeline gave it for the picture.
        """
        if self._latents is not None and not _is_grid(self._latents):
            return
        reason = self._lack(finished)
        if not reason:
            try:
                steps = [self._decode_step(decode, seen, finished.dtype) for seen in self._expected]
            except ModelError as error:
                reason = str(error)
            else:
                self.frames = list(zip(*steps, strict=True))
        self.warnings = (LEFT_OUT.format(reason),) if reason else ()

    def _preview(self, seen: Tensor) -> None:
        """Show a step to who looks on; parts that wait in main memory stay there."""
        if self._watch is None or hasattr(self._vae, "_hf_hook"):
            return
        with suppress(ModelError):  # decoding fails again at the end, where it is said
            self._watch(tuple(self._decode_step(self._decoder, seen, self._vae.dtype)))

    def _lack(self, finished: Tensor) -> str:
        """Return why what was seen cannot be decoded; empty if it can."""
        if not self._expected or self._latents is None:
            return "no step of the sampler was seen"
        if len(self._expected) != self._steps[-1] + 1 or len(self._expected) > MOST_STEPS:
            ran, steps = len(self._expected), self._steps[-1] + 1
            return f"{ran} of {steps} steps ran; expected all of them, and at most {MOST_STEPS}"
        last = _scale_back(self._vae, self._latents)
        if last.shape != finished.shape or not torch.allclose(
            last.float(), finished.float(), rtol=0.05, atol=0.05
        ):
            return f"{type(self._vae).__name__} is given latents that are scaled in another way"
        is_finite = all(bool(seen.isfinite().all()) for seen in self._expected)
        return "" if is_finite else "what the sampler expects is not finite in some step"

    def _decode_step(
        self, decode: Callable[..., Any], seen: Tensor, dtype: torch.dtype
    ) -> list[Image]:
        with torch.no_grad():
            pixels = decode(_scale_back(self._vae, seen).to(dtype), return_dict=False)[0]
        levels = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte()
        return [_small(picture) for picture in levels.permute(0, 2, 3, 1).cpu()]


@contextmanager
def forming(scheduler: Any, vae: Any, watch: Watch | None = None) -> Iterator[Forming]:
    """See the steps of a sampler in a block, and decode them once its picture is decoded.

    Nothing stays on the scheduler or the VAE.

    Args:
        scheduler: that runs.
        vae: that decodes its latents.
        watch: told of each step at once.
    """
    seen = Forming(scheduler, vae, watch)
    step, decode = scheduler.step, vae.decode

    @wraps(step)
    def noted_step(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **named: Any):  # type: ignore[no-untyped-def]
        seen.see(model_output, sample)
        result = step(model_output, timestep, sample, *args, **named)
        seen.note(result[0])
        return result

    @wraps(decode)
    def noted_decode(latents: Tensor, *args: Any, **named: Any):  # type: ignore[no-untyped-def]
        result = decode(latents, *args, **named)
        seen.decode(decode, latents)
        return result

    with ExitStack() as stack:
        stack.enter_context(replaced(scheduler, "step", noted_step))
        stack.enter_context(replaced(vae, "decode", noted_decode))
        yield seen


def formed(pipe: Any, watch: Watch | None, *, is_on: bool) -> AbstractContextManager[Forming]:
    """See how the pictures of a pipeline form in a block, where somebody listens."""
    if not is_on:
        return nullcontext(Forming(pipe.scheduler, pipe.vae))
    return forming(pipe.scheduler, pipe.vae, watch)


def expected_picture(scheduler: Any, timestep: Any, answer: Tensor, latents: Tensor) -> Tensor:
    """Return x̂₀ in latents, float32.

    Args:
        scheduler: after `set_timesteps`.
        timestep: of the step.
        answer: of the denoiser, guided.
        latents: of the sampler, of the same shape.
    """
    noise, kind = schedules.noise_left(scheduler, float(timestep)), schedules.target(scheduler)
    answer = answer.float()
    if kind == "flow":
        return latents.float() - noise * answer
    if kind == "sample":
        return answer
    scaled: Tensor = scheduler.scale_model_input(latents, timestep).float()
    signal = float(np.sqrt(1 - noise**2))
    if kind == "v":
        return signal * scaled - noise * answer
    return (scaled - noise * answer) / max(signal, 1e-6)


def _is_grid(latents: Tensor) -> bool:
    """Whether latents are (image, channel, row, column); packed ones have no rows and columns."""
    return latents.ndim == 4  # noqa: PLR2004


def _shrink(latents: Tensor) -> Tensor:
    height, width = latents.shape[-2:]
    factor = max(height, width) / CELLS
    if factor <= 1:
        return latents
    return adaptive_avg_pool2d(latents, (round(height / factor), round(width / factor)))


def _scale_back(vae: Any, latents: Tensor) -> Tensor:
    """Return what the VAE is given for latents, by its configuration."""
    config = vae.config
    mean, spread = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    latents = latents / config.scaling_factor
    if mean is not None and spread is not None:
        column = (1, -1, 1, 1)
        mean, spread = (latents.new_tensor(value).view(column) for value in (mean, spread))
        return latents * spread + mean
    return latents + (getattr(config, "shift_factor", None) or 0.0)


def _small(pixels: Tensor) -> Image:
    """Return a picture of (row, column, channel), its longer side `SIDE` at most."""
    picture = fromarray(pixels.numpy())
    picture.thumbnail((SIDE, SIDE), Resampling.BOX, reducing_gap=None)
    return picture
