"""A small language model in the layout of MMaDA and LLaDA: config, sharded weights, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from attn.demo import questions
from attn.demo.tokenizers import END, MASK, WORDS, chat_tokenizer

LENGTH = 320
"""Positions of prompt and text."""
SHARD = "512KB"
"""Largest file of weights: there are several, as in published models."""
ROUND = 64
"""The number of vectors is a multiple of this, as published."""
FILE = "model.safetensors"
"""Of the weights that ship."""

GAIN = 3.0
"""On random queries and keys, whose attention would be flat."""


@dataclass(frozen=True)
class Sizes:
    """Channels, channels inside a block, heads, blocks."""

    width: int
    inner: int
    heads: int
    layers: int


TINY = Sizes(width=48, inner=80, heads=3, layers=4)
"""Of the model with random weights."""
TRAINED = Sizes(width=128, inner=320, heads=4, layers=5)
"""Of the model that learns to answer; 1.3 million parameters."""


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, which has one token for each word that the model may learn."""
    roles = ("user", "assistant")
    return chat_tokenizer(tuple(dict.fromkeys((*WORDS, *questions.words(), *roles))))


def config(sizes: Sizes = TINY) -> dict[str, Any]:
    """Return the model's config.json, with the settings that the published models have."""
    reader = tokenizer()
    end = reader.convert_tokens_to_ids(END)
    return {
        "architectures": ["MMadaModelLM"],
        "model_type": "mmada",
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": sizes.width,
        "embedding_size": -(-len(reader) // ROUND) * ROUND,
        "eos_token_id": end,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "mask_token_id": reader.convert_tokens_to_ids(MASK),
        "max_sequence_length": LENGTH,
        "mlp_hidden_size": sizes.inner,
        "n_heads": sizes.heads,
        "n_kv_heads": sizes.heads,
        "n_layers": sizes.layers,
        "pad_token_id": end,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_theta": 10000.0,
        "scale_logits": False,
        "vocab_size": len(reader),
        "weight_tying": False,
    }


def shapes(sizes: Sizes = TINY) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by its name in a checkpoint."""
    vocabulary, width, inner = config(sizes)["embedding_size"], sizes.width, sizes.inner
    result: dict[str, tuple[int, ...]] = {"wte": (vocabulary, width)}
    for block in range(sizes.layers):
        matrices = dict.fromkeys(("q_proj", "k_proj", "v_proj", "attn_out"), (width, width))
        matrices |= {"ff_proj": (inner, width), "up_proj": (inner, width), "ff_out": (width, inner)}
        norms = dict.fromkeys(("attn_norm", "ff_norm"), (width,))
        result |= {f"blocks.{block}.{name}": shape for name, shape in (norms | matrices).items()}
    result |= {"ln_f": (width,), "ff_out": (vocabulary, width)}
    return {f"model.transformer.{name}.weight": shape for name, shape in result.items()}


def random_weights(seed: int, sizes: Sizes = TINY) -> dict[str, Tensor]:
    """Draw weights; the same seed gives the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _draw(name, shape, generator) for name, shape in shapes(sizes).items()}


def save(folder: Path, weights: Mapping[str, Tensor], sizes: Sizes = TINY) -> None:
    """Save a model.

    Args:
        folder: destination, created if missing.
        weights: by their names in `shapes`.
        sizes: of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(sizes), indent=2) + "\n")
    save_torch_state_dict(dict(weights), folder, max_shard_size=SHARD)
    tokenizer().save_pretrained(folder)


def save_trained(folder: Path, weights: Path) -> None:
    """Save the trained model in float32.

    Args:
        folder: destination, created if missing.
        weights: folder of the weights that ship, in float16.
    """
    held = load_file(weights / FILE)
    save(folder, {name: tensor.float() for name, tensor in held.items()}, TRAINED)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape)
    gain = GAIN if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.0
    drawn = torch.randn(shape, generator=generator)
    return drawn if name.endswith("wte.weight") else drawn * gain / shape[1] ** 0.5
