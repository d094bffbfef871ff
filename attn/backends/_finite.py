"""Refuse pictures that are not numbers, which image files show as black."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from attn.errors import ModelError


@contextmanager
def finite_pictures(vae: Any) -> Iterator[None]:
    """Watch what a VAE decodes; nothing is changed, and nothing stays on the VAE.

    Args:
        vae: of a diffusers pipeline; its module `decoder` turns latents into pixels.

    Raises:
        ModelError: latents or pixels are NaN or infinite; raised from within the pipeline.
    """
    handle = vae.decoder.register_forward_hook(_refuse)
    try:
        yield
    finally:
        handle.remove()


def _refuse(decoder: nn.Module, args: tuple[Any, ...], pixels: Tensor) -> None:
    _refuse_broken("latents that the VAE decodes", args[0], "denoiser")
    _refuse_broken("VAE's pixels", pixels, "VAE")


def _refuse_broken(what: str, found: Tensor, whose: str) -> None:
    broken = ~found.isfinite()
    if broken.any():
        raise ModelError(
            f"the picture is not numbers: {float(broken.float().mean()):.1%} of the {what} are NaN "
            f"or infinite, computed in {str(found.dtype).removeprefix('torch.')}; the weights of "
            f"the {whose} are broken, or --dtype is too narrow: try --dtype float32"
        )
