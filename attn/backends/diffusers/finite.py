"""Refuse pictures that are not numbers, which image files show as black, and say who made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attn.errors import ModelError
from attn.wording import percent

SAMPLER_SETTINGS = (
    *("prediction_type", "rescale_betas_zero_snr", "timestep_spacing", "beta_schedule"),
    *("beta_start", "beta_end", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"),
)
"""What a sampler computes its numbers with, as far as it has them."""


@contextmanager
def finite_pictures(vae: Any) -> Iterator[None]:
    """Watch what a VAE decodes; nothing is changed, and nothing stays on the VAE.

    Args:
        vae: of a diffusers pipeline; its module `decoder` turns latents into pixels.

    Raises:
        ModelError: latents or pixels are NaN or infinite; raised from within the pipeline.
    """
    with _hooked(vae.decoder.register_forward_hook(_check_pixels)):
        yield


@contextmanager
def finite_steps(denoiser: nn.Module, scheduler: Any, vae: Any) -> Iterator[None]:
    """Watch a whole generation, so that the first place with a number that is none is named.

    Nothing is changed, and nothing stays on the modules.

    Args:
        denoiser: its first argument, or the first by name, is the latents of the sampler.
        scheduler: the sampler.
        vae: see `finite_pictures`.

    Raises:
        ModelError: what goes into the denoiser, comes out of it, or is decoded is NaN or infinite;
            raised from within the pipeline.
    """
    sampler = _SamplerCheck(scheduler)
    with (
        _hooked(denoiser.register_forward_pre_hook(sampler.check_input, with_kwargs=True)),
        _hooked(denoiser.register_forward_hook(_check_output)),
        _hooked(vae.decoder.register_forward_pre_hook(sampler.check_result)),
        finite_pictures(vae),
    ):
        yield


class _SamplerCheck:
    """Attribute broken latents to the sampler if the denoiser's answers were finite."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._calls = 0

    def check_input(
        self, denoiser: nn.Module, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> None:
        named = {**{str(index): argument for index, argument in enumerate(args)}, **keywords}
        self._calls += 1
        latents = next(iter(named), "")
        for name, value in named.items():
            for tensor in _tensors(value):
                if name == latents and self._calls > 1 and not _is_finite(tensor):
                    self._blame(tensor, f"latents that the denoiser is given in call {self._calls}")
                who = "ControlNet" if "_block_" in name else "text encoders"
                require_finite(tensor, f"denoiser's input '{name}'", who)

    def check_result(self, decoder: nn.Module, args: tuple[Any, ...]) -> None:
        if self._calls and not _is_finite(args[0]):
            self._blame(args[0], "latents that the VAE decodes")

    def _blame(self, values: Tensor, what: str) -> None:
        config = self._scheduler.config
        settings = ", ".join(f"{key}={config[key]}" for key in SAMPLER_SETTINGS if config.get(key))
        narrow = "" if values.dtype == torch.float32 else ", or --dtype float32"
        raise ModelError(
            f"{_broken(values, what)}, although the denoiser's answers were finite: the sampler "
            f"made them, {type(self._scheduler).__name__} with {settings}; correct that, or choose "
            f"another with --scheduler{narrow}"
        )


def require_finite(values: Tensor, what: str, who: str, result: str = "picture") -> None:
    """Refuse numbers that are none.

    Args:
        values: the numbers.
        what: they are.
        who: made them, from what was finite.
        result: what is being generated.

    Raises:
        ModelError: some are NaN or infinite.
    """
    if not _is_finite(values):
        raise ModelError(
            f"{_broken(values, what, result)}; the weights of the {who} are broken, or --dtype is "
            "too narrow: try --dtype float32"
        )


def _check_output(denoiser: nn.Module, args: Any, output: Any) -> None:
    for tensor in _tensors(output):
        require_finite(tensor, "numbers that the denoiser answers", "denoiser")


def _check_pixels(decoder: nn.Module, args: tuple[Any, ...], pixels: Tensor) -> None:
    require_finite(args[0], "latents that the VAE decodes", "denoiser")
    require_finite(pixels, "VAE's pixels", "VAE")


def _broken(values: Tensor, what: str, result: str = "picture") -> str:
    share = float((~values.isfinite()).float().mean())
    dtype = str(values.dtype).removeprefix("torch.")
    return (
        f"the {result} is not numbers: {percent(share)} of the {what} are NaN or infinite, "
        f"computed in {dtype}"
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    """Return the floating-point tensors among nested values."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _is_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


@contextmanager
def _hooked(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
