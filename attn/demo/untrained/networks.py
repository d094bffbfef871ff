"""What the untrained demo models share: an autoencoder, text encoders, and how they are built."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin
from transformers import Qwen2Tokenizer, Qwen3Config, T5Config, T5Tokenizer

GAIN = 1.6
"""Fresh weights attend almost evenly; queries and keys are made larger by this."""
SHARPENED = (
    *("norm_q.weight", "norm_k.weight", "added_q.weight", "added_k.weight"),
    *("attn1.to_q.weight", "attn1.to_k.weight", "attn2.to_q.weight", "attn2.to_k.weight"),
)


def built(
    networks: Callable[[], dict[str, Any]], dtype: torch.dtype, *, weights: bool
) -> dict[str, Any]:
    """Build networks, the same weights every time, in evaluation mode.

    Args:
        networks: makes them, by component.
        dtype: of the weights.
        weights: False leaves them on the meta device.
    """
    device = torch.device("cpu" if weights else "meta")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), device:
        torch.default_generator.manual_seed(0)
        made = networks()
        parameters = chain(*(network.named_parameters() for network in made.values()))
        for parameter in (each for name, each in parameters if name.endswith(SHARPENED)):
            parameter.mul_(GAIN)
    return {name: _cast(network.eval(), dtype) for name, network in made.items()}


def _cast(network: Any, dtype: torch.dtype) -> Any:
    """Convert a network, but what the library keeps in float32 whatever is asked for."""
    is_ours = isinstance(network, ModelMixin)
    kept = {*(getattr(network, "_keep_in_fp32_modules", None) or ())} if is_ours else set()
    for name, parameter in network.named_parameters():
        if kept.isdisjoint(name.split(".")):
            parameter.data = parameter.data.to(dtype)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and kept.isdisjoint(name.split(".")):
            buffer.data = buffer.data.to(dtype)
    return network


BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
"""Of the samplers of Stable Diffusion."""


def kl_vae(*, scaling_factor: float) -> AutoencoderKL:
    """Return the VAE of Stable Diffusion 1.x, 2.x and XL, each of which scales latents its way."""
    channels = (4, 4, 8, 8)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=scaling_factor,
    )


def vae(
    *, latent_channels: int, scaling_factor: float, shift_factor: float | None
) -> AutoencoderKL:
    """Return four levels: a latent pixel is 8 x 8 pixels."""
    channels = (4, 4, 8, 8)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def t5_config(tokenizer: T5Tokenizer, *, width: int) -> T5Config:
    """Return one layer of 5 heads of 4."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=4,
        d_ff=24,
        num_layers=1,
        num_heads=5,
        feed_forward_proj="gated-gelu",
    )


def qwen3_config(tokenizer: Qwen2Tokenizer, *, width: int, layers: int = 2) -> Qwen3Config:
    """Return layers of 2 heads of 6 over one head of keys.

    Args:
        tokenizer: whose tokens it reads.
        width: of its states.
        layers: how many.
    """
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
    )
