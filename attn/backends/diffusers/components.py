"""Components of a pipeline that change its pictures: refused, left out, or named early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attn.backends.diffusers import samplers
from attn.errors import ModelError

LEFT_OUT = ("safety_checker", "watermark")
"""Attributes of pipelines that replace or mark finished pictures."""
FREEU = ("s1", "s2", "b1", "b2")
"""Attributes that FreeU leaves on the blocks of a UNet."""


def refuse(denoiser: Any) -> None:
    """Refuse a denoiser that needs more than a text.

    Raises:
        ModelError: it has an IP-Adapter.
    """
    kind = getattr(denoiser.config, "encoder_hid_dim_type", None)
    if kind == "ip_image_proj" or getattr(denoiser, "image_proj", None) is not None:
        raise ModelError(
            "this pipeline has an IP-Adapter, which needs a picture that a capture cannot give it; "
            "take it away with pipe.unload_ip_adapter(), or call the pipeline yourself and record "
            "its attention with attn.tap"
        )


def remarks(pipe: Any, denoiser: Any) -> Iterator[str]:
    """Describe settings of a pipeline, beside its networks, that change the images."""
    for name in LEFT_OUT:
        if getattr(pipe, name, None) is not None:
            yield f"the pipeline's {name} is not run: it would change finished pictures"
    scales = {
        name: value
        for block in getattr(denoiser, "up_blocks", ())
        for name in FREEU
        if (value := getattr(block, name, None)) is not None
    }
    if scales:
        told = ", ".join(f"{name} {value:g}" for name, value in scales.items())
        yield (
            f"FreeU is on ({told}), which changes pictures and attention; "
            "pipe.disable_freeu() takes it away"
        )


def sampler_remarks(scheduler: Any) -> Iterator[str]:
    """Describe settings of a sampler that are meant for pixels, not latents."""
    if clipping := samplers.clipping(scheduler):
        yield (
            f"{type(scheduler).__name__} confines what it predicts ({clipping}), as for "
            "pixels; latents are wider, so that pictures may be noise: set it to False in the "
            "scheduler's configuration"
        )


@contextmanager
def left_out(pipe: Any) -> Iterator[None]:
    """Take away what changes finished pictures, and give it back; the configuration is kept."""
    before = {name: getattr(pipe, name) for name in LEFT_OUT if hasattr(pipe, name)}
    try:
        for name in before:
            object.__setattr__(pipe, name, None)
        yield
    finally:
        for name, component in before.items():
            object.__setattr__(pipe, name, component)
