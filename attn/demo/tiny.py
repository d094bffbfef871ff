"""Tiny pipelines with random weights, saved as real diffusers folders.

They have the structure of the published models (block types, encoders, schedulers, a VAE that
shrinks by 8) at toy size.
"""
# diffusers imports its classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call, return-value"

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from attn.demo import drawn, networks, stability, text_encoders
from attn.demo.quiet import without_progress_bars
from attn.demo.tokenizers import CLIP_LENGTH, clip_tokenizer, t5_tokenizer

# Fresh weights attend almost uniformly. With these gains, by end of the parameter's name, tokens
# differ from each other and logits have a standard deviation of 1 to 3.
GAINS: dict[str, float] = {
    "token_embedding.weight": 50.0,
    "position_embedding.weight": 20.0,
    "to_q.weight": 3.0,
    "to_k.weight": 3.0,
    "norm_q.weight": 1.6,
    "norm_k.weight": 1.6,
    "norm_added_q.weight": 1.6,
    "norm_added_k.weight": 1.6,
}


TOKENS = "scribble:tokens"
SKETCH_WIDTH = 24
INPAINTING_CHANNELS = 9
"""Noise, mask, and the picture without what is drawn anew."""


def save(name: str, folder: Path, *, seed: int) -> None:
    """Save the pipeline `name` to `folder`; the same seed gives the same bytes.

    Models of SD3.5 with gates are saved as sd-scripts does, all others as diffusers does.

    Args:
        name: one of `attn.demo.NAMES`.
        folder: destination, created if missing.
        seed: of the weights; the caller's random state stays as it was.
    """
    plain = name.replace("gated", "sd35")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, leaves GPUs alone
        encoder = sketch_encoder() if name == TOKENS else None
        pipeline = _PIPELINES[plain]()
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                _amplify(component)
                component.eval()
        gates = _gates(pipeline, per_head=name == "gated") if plain != name else {}
    if gates:
        stability.save_split(pipeline, gates, folder)
        return
    with without_progress_bars():
        pipeline.save_pretrained(folder)
    if encoder is not None:
        drawn.save_states(folder, pipeline.unet, encoder)


def sketch_encoder() -> dict[str, torch.Tensor]:
    """Return random weights of a sketch encoder: 77 tokens, which differ from each other."""
    channels = (1, 64, 128, 256, SKETCH_WIDTH)
    state = {}
    for index, (before, after) in enumerate(pairwise(channels)):
        gain = (2 / (9 * before)) ** 0.5
        state[f"conv_encoder.{2 * index}.weight"] = gain * torch.randn(after, before, 3, 3)
        state[f"conv_encoder.{2 * index}.bias"] = 0.1 * torch.randn(after)
    state["to_tokens.0.weight"] = torch.randn(SKETCH_WIDTH * CLIP_LENGTH, SKETCH_WIDTH)
    state["to_tokens.0.bias"] = torch.randn(SKETCH_WIDTH * CLIP_LENGTH)
    state["to_cross_attn.weight"] = torch.randn(text_encoders.CLIP_L_WIDTH, SKETCH_WIDTH) / 4
    state["to_cross_attn.bias"] = torch.zeros(text_encoders.CLIP_L_WIDTH)
    state["pos_embeddings"] = torch.randn(1, CLIP_LENGTH, text_encoders.CLIP_L_WIDTH)
    return state


def _gates(pipeline: Any, *, per_head: bool) -> stability.State:
    """Return gates with random weights for every attention of a transformer of SD3.

    Inputs are normed, so that a gate's logits have a standard deviation of 1.5.
    """
    gates = {}
    heads = pipeline.transformer.config.num_attention_heads
    for name, joined in stability.mmdit(pipeline.transformer).items():
        if name.endswith(".qkv.weight"):
            channels = joined.shape[1]
            rows = heads if per_head else channels
            stem = name.removesuffix(".qkv.weight")
            gates[f"{stem}.weight"] = torch.randn(rows, channels) / math.sqrt(channels)
            gates[f"{stem}.bias"] = torch.randn(rows)
    return gates


def _amplify(model: torch.nn.Module) -> None:
    """Multiply the parameters named in `GAINS`, in place."""
    for name, parameter in model.named_parameters():
        for ending, gain in GAINS.items():
            if name.endswith(ending):
                parameter.mul_(gain)


def _sd15() -> DiffusionPipeline:
    """Stable Diffusion 1.5: UNet with one text encoder, pseudo numerical scheduler."""
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=networks.vae(scaling_factor=0.18215),
        text_encoder=CLIPTextModel(text_encoders.clip_l_config(tokenizer)),
        tokenizer=tokenizer,
        unet=networks.sd15_unet(),
        scheduler=PNDMScheduler(**_BETAS, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> DiffusionPipeline:
    """Stable Diffusion XL: UNet with two text encoders and size conditioning."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad="!")
    pipeline = StableDiffusionXLPipeline(
        vae=networks.vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(text_encoders.clip_l_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_encoders.clip_g_config(tokenizer_2)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=networks.sdxl_unet(),
        scheduler=EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )
    # The pipeline forgets this itself: reloaded where invisible-watermark is installed, it would
    # change the pixels.
    pipeline.register_to_config(add_watermarker=False)
    return pipeline


def _sd35(*, dual_layers: tuple[int, ...]) -> DiffusionPipeline:
    """Stable Diffusion 3.5: joint attention, three text encoders.

    Args:
        dual_layers: blocks with a second, image-only attention, as Medium has in its first half.
    """
    tokenizer, tokenizer_2, tokenizer_3 = clip_tokenizer(), clip_tokenizer(pad="!"), t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=networks.sd35_transformer(dual_layers),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=networks.vae(
            scaling_factor=1.5305, shift_factor=0.0609, latent_channels=16, quant_conv=False
        ),
        text_encoder=CLIPTextModelWithProjection(text_encoders.clip_l_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text_encoders.clip_g_config(tokenizer_2)),
        tokenizer_2=tokenizer_2,
        text_encoder_3=T5EncoderModel(text_encoders.t5_config(tokenizer_3)),
        tokenizer_3=tokenizer_3,
    )


def _scribble() -> DiffusionPipeline:
    """SDXL with a ControlNet that has an effect."""
    parts = _sdxl().components
    net = networks.controlnet(parts["unet"], is_zero=False)
    pipeline = StableDiffusionXLControlNetPipeline(**parts, controlnet=net, add_watermarker=False)
    pipeline.register_to_config(add_watermarker=False)
    return pipeline


def _scribble_sd15() -> DiffusionPipeline:
    """Stable Diffusion 1.5 with a ControlNet that has an effect."""
    parts = _sd15().components
    net = networks.controlnet(parts["unet"], is_zero=False)
    return StableDiffusionControlNetPipeline(**parts, controlnet=net, requires_safety_checker=False)


def _sd15_inpainting() -> DiffusionPipeline:
    """Stable Diffusion 1.5, whose UNet sees a picture and a mask too."""
    parts = _sd15().components | {"unet": networks.sd15_unet(INPAINTING_CHANNELS)}
    return StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)


def _sdxl_inpainting() -> DiffusionPipeline:
    """Stable Diffusion XL, whose UNet sees a picture and a mask too."""
    parts = _sdxl().components | {"unet": networks.sdxl_unet(INPAINTING_CHANNELS)}
    pipeline = StableDiffusionXLInpaintPipeline(**parts, add_watermarker=False)
    pipeline.register_to_config(add_watermarker=False)
    return pipeline


_BETAS: dict[str, float | str] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd15": _sd15,
    "sdxl": _sdxl,
    "scribble": _scribble,
    "scribble:sd15": _scribble_sd15,
    TOKENS: _sd15,
    "sd15:inpainting": _sd15_inpainting,
    "sdxl:inpainting": _sdxl_inpainting,
    "sd35": partial(_sd35, dual_layers=()),
    "sd35:medium": partial(_sd35, dual_layers=(0, 1)),
}
