"""A small language model in the layout of MMaDA and LLaDA: config, sharded weights, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from attn.demo.tokenizers import END, MASK, chat_tokenizer

WIDTH, INNER = 48, 80
HEADS, LAYERS = 3, 4
LENGTH = 320
SHARD = "128KB"
"""Largest file of weights: there are several, as in published models."""

GAIN = 3.0
"""On random queries and keys, whose attention would be flat."""


def config() -> dict[str, Any]:
    """Return the model's config.json, with the settings that the published models have."""
    tokenizer = chat_tokenizer()
    end = tokenizer.convert_tokens_to_ids(END)
    return {
        "architectures": ["MMadaModelLM"],
        "model_type": "mmada",
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": WIDTH,
        "embedding_size": -(-len(tokenizer) // 64) * 64,
        "eos_token_id": end,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "mask_token_id": tokenizer.convert_tokens_to_ids(MASK),
        "max_sequence_length": LENGTH,
        "mlp_hidden_size": INNER,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "pad_token_id": end,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_theta": 10000.0,
        "scale_logits": False,
        "vocab_size": len(tokenizer),
        "weight_tying": False,
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by its name in a checkpoint."""
    vocabulary = config()["embedding_size"]
    found: dict[str, tuple[int, ...]] = {"wte": (vocabulary, WIDTH)}
    for block in range(LAYERS):
        matrices = dict.fromkeys(("q_proj", "k_proj", "v_proj", "attn_out"), (WIDTH, WIDTH))
        matrices |= {"ff_proj": (INNER, WIDTH), "up_proj": (INNER, WIDTH), "ff_out": (WIDTH, INNER)}
        norms = dict.fromkeys(("attn_norm", "ff_norm"), (WIDTH,))
        found |= {f"blocks.{block}.{name}": shape for name, shape in (norms | matrices).items()}
    found |= {"ln_f": (WIDTH,), "ff_out": (vocabulary, WIDTH)}
    return {f"model.transformer.{name}.weight": shape for name, shape in found.items()}


def random_weights(seed: int) -> dict[str, Tensor]:
    """Draw weights; the same seed gives the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _draw(name, shape, generator) for name, shape in shapes().items()}


def save(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Save a model.

    Args:
        folder: destination, created if missing.
        weights: by their names in `shapes`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(), indent=2) + "\n")
    save_torch_state_dict(dict(weights), folder, max_shard_size=SHARD)
    chat_tokenizer().save_pretrained(folder)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape)
    gain = GAIN if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.0
    drawn = torch.randn(shape, generator=generator)
    return drawn if name.endswith("wte.weight") else drawn * gain / shape[1] ** 0.5
