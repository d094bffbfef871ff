"""Trained demo models: small float16 weights, assembled into real diffusers folders."""
# diffusers imports its classes lazily: mypy sees untyped placeholders of them.
# mypy: disable-error-code="attr-defined, no-untyped-call, return-value"

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file, load_model
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from attn.demo import drawn, networks, shapes_networks, stability, text_encoders
from attn.demo.quiet import without_progress_bars
from attn.demo.shipped import weight_files
from attn.demo.tokenizers import clip_tokenizer, t5_tokenizer

SHIFT = 3.0
"""Of the flow's times towards high noise, as published."""
GATES = "gates.safetensors"
"""Among weights: the gates of a transformer, see `stability.with_gates`."""
SKETCH_ENCODER = f"{drawn.ENCODER}.safetensors"


def save(name: str, folder: Path, *, weights: Path) -> None:
    """Save the trained pipeline `name` to `folder` in the layout of diffusers, in float32.

    With gates among its weights it is saved as sd-scripts saves such models; with a sketch encoder,
    the files of a ScribbleDiffusion checkpoint are added.

    Args:
        name: a key of `PIPELINES`.
        folder: destination, created if missing.
        weights: see `fill`.
    """
    with torch.random.fork_rng(devices=[]):  # the weights that are replaced are drawn at random
        pipeline = PIPELINES[name]()
    fill(pipeline.components, weights)
    if (weights / GATES).exists():
        stability.save_split(pipeline, _load_floats(weights / GATES), folder)
        return
    with without_progress_bars():
        pipeline.save_pretrained(folder)
    if (weights / SKETCH_ENCODER).exists():
        drawn.save_states(folder, pipeline.unet, _load_floats(weights / SKETCH_ENCODER))


def _load_floats(path: Path) -> dict[str, torch.Tensor]:
    return {key: tensor.float() for key, tensor in load_file(path).items()}


def fill(components: Mapping[str, object], weights: Path) -> None:
    """Load the weights of every component that is a model, in place.

    Args:
        components: by name, as a pipeline lists them; tokenizers and the like are skipped.
        weights: folder of one safetensors file per component, see `shipped.weight_files`.
    """
    for name, component in components.items():
        if isinstance(component, torch.nn.Module):
            _load(component, *weight_files(weights, name))
            component.eval()


def _load(model: torch.nn.Module, first: Path, *others: Path) -> None:
    """Load weights into a model; each file replaces what it holds of those before it."""
    if not others:
        load_model(model, first)  # knows of weights that have two names
        return
    state = load_file(first)
    for path in others:
        state |= load_file(path)
    model.load_state_dict(state)


def sdxl() -> DiffusionPipeline:
    """SDXL of the shapes world, 128 x 128 pixels, with random weights.

    It predicts velocity and starts from pure noise, unlike the published model: with noisy latents
    that still show the picture's coarse colours, a small model learns no words.
    """
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad="!")
    pipeline = StableDiffusionXLPipeline(
        vae=shapes_networks.vae(),
        text_encoder=CLIPTextModel(text_encoders.shapes_clip_l_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_encoders.shapes_clip_g_config(tokenizer_2)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=shapes_networks.unet(),
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="trailing"),
        **XL_SETTINGS,
    )
    # The pipeline forgets this itself, and a watermark would change the pixels.
    pipeline.register_to_config(add_watermarker=False)
    return pipeline


def scribble() -> DiffusionPipeline:
    """SDXL of the shapes world with a ControlNet that reads outlines, white on black."""
    parts = sdxl().components
    net = networks.controlnet(parts["unet"], is_zero=True)
    pipeline = StableDiffusionXLControlNetPipeline(**parts, controlnet=net, **XL_SETTINGS)
    pipeline.register_to_config(add_watermarker=False)
    return pipeline


def scribble_tokens() -> DiffusionPipeline:
    """SD1.x of the shapes world, whose UNet reads a drawing's tokens after those of the text."""
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=shapes_networks.vae(),
        text_encoder=CLIPTextModel(text_encoders.shapes_clip_l_config(tokenizer)),
        tokenizer=tokenizer,
        unet=shapes_networks.tokens_unet(),
        scheduler=DDIMScheduler(**TOKENS_NOISE, **TOKENS_STEPS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd35(transformer: Callable[[], SD3Transformer2DModel]) -> DiffusionPipeline:
    """SD3.5 of the shapes world, 128 x 128 pixels, with random weights.

    Args:
        transformer: builds it.
    """
    tokenizer, tokenizer_2, tokenizer_3 = clip_tokenizer(), clip_tokenizer(pad="!"), t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=shapes_networks.vae(),
        text_encoder=CLIPTextModelWithProjection(text_encoders.shapes_clip_l_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text_encoders.shapes_clip_g_config(tokenizer_2)),
        tokenizer_2=tokenizer_2,
        text_encoder_3=T5EncoderModel(text_encoders.shapes_t5_config(tokenizer_3)),
        tokenizer_3=tokenizer_3,
    )


XL_SETTINGS = {
    "add_watermarker": False,
    "force_zeros_for_empty_prompt": False,  # trained with the encoding of no text for left-out ones
}
NOISE: dict[str, float | str | bool] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
TOKENS_NOISE = NOISE | {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
"""As ScribbleDiffusion was trained."""
TOKENS_STEPS = {"timestep_spacing": "trailing", "clip_sample": False, "steps_offset": 1}
PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sdxl": sdxl,
    "scribble": scribble,
    "scribble-tokens": scribble_tokens,
    "sd35": partial(sd35, shapes_networks.large),
    "sd35-medium": partial(sd35, shapes_networks.medium),
    "gated": partial(sd35, shapes_networks.large),
}
