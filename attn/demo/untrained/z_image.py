"""A tiny Z-Image: the real classes, the real structure, random weights."""
# diffusers and transformers import their classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Model

from attn.demo.tokenizers import qwen_tokenizer
from attn.demo.untrained.networks import built, qwen3_config, vae

QWEN_WIDTH = 20
LATENT_CHANNELS = 4
HEADS, HEAD_DIM = 3, 8


def build(dtype: torch.dtype, *, weights: bool = True, turbo: bool = True) -> Any:
    """Build the pipeline; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
        turbo: whether the sampler is that of Z-Image-Turbo.
    """
    tokenizer = qwen_tokenizer()

    def networks() -> dict[str, Any]:
        return {
            "transformer": transformer(),
            "vae": vae(latent_channels=LATENT_CHANNELS, scaling_factor=0.3611, shift_factor=0.1159),
            "text_encoder": Qwen3Model(qwen3_config(tokenizer, width=QWEN_WIDTH)),
        }

    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if turbo else 6.0),
        tokenizer=tokenizer,
        **built(networks, dtype, weights=weights),
    )


def transformer() -> ZImageTransformer2DModel:
    """Return a refiner of the picture, one of the text, and two blocks of both."""
    model = ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=HEADS * HEAD_DIM,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=QWEN_WIDTH,
        axes_dims=[2, 2, 4],
    )
    for padding in (model.x_pad_token, model.cap_pad_token):  # which are made without numbers
        torch.nn.init.normal_(padding, std=0.02)
    return model
