"""A tiny FLUX.1 with random weights: the real classes, the real structure, nothing to download."""

import string
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CLIP_WIDTH, T5_WIDTH = 24, 40
HEADS, HEAD_DIM = 3, 16
WORDS = ("a", "red", "blue", "cat", "dog", "on", "wooden", "chair", "barn", "in", "front", "of")


def pipeline(dtype: torch.dtype, *, weights: bool = True, guided: bool = True) -> Any:
    """Build the model; the same weights every time.

    Args:
        dtype: of the weights.
        weights: False leaves the networks on the meta device.
        guided: whether guidance is an input (dev) or not (schnell).
    """
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    device = torch.device("cpu" if weights else "meta")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), device:
        torch.default_generator.manual_seed(0)
        networks: dict[str, Any] = {
            "transformer": transformer(guided),
            "vae": vae(),
            "text_encoder": CLIPTextModel(clip_config(tokenizer)),
            "text_encoder_2": T5EncoderModel(t5_config(tokenizer_2)),
        }
        sharpen(networks["transformer"])
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        **{name: network.eval().to(dtype) for name, network in networks.items()},
    )


def sharpen(model: nn.Module) -> None:
    """Scale queries and keys up: fresh weights attend almost evenly."""
    for name, parameter in model.named_parameters():
        if name.endswith(("norm_q.weight", "norm_k.weight", "added_q.weight", "added_k.weight")):
            parameter.mul_(1.5)


def transformer(guided: bool) -> FluxTransformer2DModel:
    """Return two double-stream and three single-stream blocks."""
    return FluxTransformer2DModel(
        in_channels=16,  # 4 latent channels, packed two by two
        num_layers=2,
        num_single_layers=3,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )


def vae() -> AutoencoderKL:
    """Return four levels: a latent pixel is 8 x 8 pixels."""
    channels = (8, 8, 16, 16)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Return a text encoder whose one pooled vector modulates the blocks."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=3,
        projection_dim=CLIP_WIDTH,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """Return a text encoder whose states the picture attends to."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=48,
        num_layers=1,
        num_heads=5,
        feed_forward_proj="gated-gelu",
    )


def clip_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer that spells everything."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    for name in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[name] = len(vocabulary)
    return CLIPTokenizer(
        vocab=vocabulary, merges=[], pad_token="<|endoftext|>", model_max_length=77
    )


def t5_tokenizer() -> T5Tokenizer:
    """Return a tokenizer that knows WORDS and spells the rest."""
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -5.0}
    pieces |= {f"▁{word}": -3.0 for word in WORDS}
    pieces |= dict.fromkeys(string.ascii_letters + string.digits + string.punctuation, -12.0)
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0, model_max_length=512)
