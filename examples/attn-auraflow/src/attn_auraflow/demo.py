"""A tiny AuraFlow with random weights: the real classes and structure, nothing to download."""

import string
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
)
from torch import nn
from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

WIDTH, HEADS = 40, 3
WORDS = ("a", "red", "blue", "cat", "dog", "on", "wooden", "chair", "barn", "in", "front", "of")


def pipeline(dtype: torch.dtype, *, weights: bool = True) -> Any:
    """Build the model; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
    """
    tokenizer = t5_tokenizer()
    device = torch.device("cpu" if weights else "meta")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), device:
        torch.default_generator.manual_seed(0)
        networks: dict[str, Any] = {
            "transformer": transformer(),
            "vae": vae(),
            "text_encoder": UMT5EncoderModel(t5_config(tokenizer)),
        }
        sharpen(networks["transformer"])
    return AuraFlowPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
        tokenizer=tokenizer,
        **{name: network.eval().to(dtype) for name, network in networks.items()},
    )


def sharpen(model: nn.Module) -> None:
    """Scale queries up, which are normed without weights: fresh ones attend almost evenly."""
    for name, parameter in model.named_parameters():
        if name.endswith(("to_q.weight", "to_k.weight", "add_q_proj.weight", "add_k_proj.weight")):
            parameter.mul_(1.5)


def transformer() -> AuraFlowTransformer2DModel:
    """Return one block of two streams and two of one."""
    return AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=8 * HEADS,
        pos_embed_max_size=81,
    )


def vae() -> AutoencoderKL:
    """Return four levels: a latent pixel is 8 x 8 pixels."""
    channels = (4, 4, 8, 8)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.13025,
    )


def t5_config(tokenizer: T5Tokenizer) -> UMT5Config:
    """Return a text encoder whose states the picture attends to."""
    return UMT5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=4, d_ff=24, num_layers=1, num_heads=5
    )


def t5_tokenizer() -> T5Tokenizer:
    """Return a tokenizer that knows WORDS and spells the rest."""
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -5.0}
    pieces |= {f"▁{word}": -3.0 for word in WORDS}
    pieces |= dict.fromkeys(string.ascii_letters + string.digits + string.punctuation, -12.0)
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0, model_max_length=256)
