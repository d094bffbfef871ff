"""Configurations of the demo models' text encoders.

CLIP-L and CLIP-G differ in width, because loaders of single files tell them apart by it; T5 is at
least as wide as both together, because SD3 pads their joined states to the width of T5.
"""

from __future__ import annotations

from transformers import CLIPTextConfig, CLIPTokenizer, T5Config, T5Tokenizer

from attn.demo.tokenizers import CLIP_LENGTH

CLIP_L_WIDTH = 32
CLIP_G_WIDTH = 48
T5_WIDTH = 96
SHAPES_CLIP_L_WIDTH = 64
SHAPES_CLIP_G_WIDTH = 96
SHAPES_T5_WIDTH = 176


def shapes_clip_l_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """2 layers of 4 heads of 16; the denoiser reads the output of the first."""
    return _clip(tokenizer, width=SHAPES_CLIP_L_WIDTH, heads=4, layers=2, activation="quick_gelu")


def shapes_clip_g_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """3 layers of 6 heads of 16; the denoiser reads the second's output, and the pooled last."""
    return _clip(tokenizer, width=SHAPES_CLIP_G_WIDTH, heads=6, layers=3, activation="gelu")


def clip_l_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """3 layers of 2 heads of 16."""
    return _clip(tokenizer, width=CLIP_L_WIDTH, heads=2, layers=3, activation="quick_gelu")


def clip_g_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """4 layers of 3 heads of 16."""
    return _clip(tokenizer, width=CLIP_G_WIDTH, heads=3, layers=4, activation="gelu")


def _clip(
    tokenizer: CLIPTokenizer, *, width: int, heads: int, layers: int, activation: str
) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 4,
        projection_dim=width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def shapes_t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """2 layers of 5 heads of 16."""
    return _t5(tokenizer, width=SHAPES_T5_WIDTH, heads=5, head_size=16, inner=256)


def t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """2 layers of 6 heads of 8: unlike in CLIP, heads need not fill the width."""
    return _t5(tokenizer, width=T5_WIDTH, heads=6, head_size=8, inner=128)


def _t5(tokenizer: T5Tokenizer, *, width: int, heads: int, head_size: int, inner: int) -> T5Config:
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=head_size,
        d_ff=inner,
        num_layers=2,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
