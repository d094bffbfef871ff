"""LLaDA and MMaDA checkpoints as what they are: Llama without a causal mask.

Their own modelling code does not run with today's transformers, and none of it is needed: with the
names translated, transformers' own `LlamaForCausalLM` gives the same logits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from attn.backends.loading.explain import explained
from attn.backends.loading.weights.folder import read_settings, weight_files
from attn.backends.loading.weights.misfit import Misfit, misshapen
from attn.backends.loading.weights.unfilled import Unfilled
from attn.checkpoints.folders import CONFIG, refuse_foreign
from attn.checkpoints.headers import read_header
from attn.errors import ModelError
from attn.files.disk import is_file
from attn.files.outside import read_json

OUTER = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
"""Modules of a block by their names in transformers' Llama."""
NAME = re.compile(r"(?:model\.)?transformer\.(?:blocks\.(\d{1,6})\.)?(\w+)\.weight")

Size = Annotated[int, msgspec.Meta(ge=1)]
Number = Annotated[int, msgspec.Meta(ge=0)]
"""Of a token."""


@dataclass(frozen=True)
class Config:
    """What config.json says, under its own names and with its own defaults."""

    d_model: Size
    n_heads: Size
    n_layers: Size
    vocab_size: Size
    max_sequence_length: Size
    model_type: str = ""
    n_kv_heads: Size | None = None
    mlp_hidden_size: Size | None = None
    mlp_ratio: Size = 4
    embedding_size: Size | None = None
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    weight_tying: bool = True
    mask_token_id: Number | None = None
    eos_token_id: Number | None = None
    pad_token_id: Number | None = None
    codebook_size: Size | None = None
    activation_type: str = "swiglu"
    alibi: bool = False
    attention_layer_norm: bool = False
    bias_for_layer_norm: bool | None = None
    block_group_size: int = 1
    block_type: str = "sequential"
    clip_qkv: float | None = None
    include_bias: bool = True
    include_qkv_bias: bool | None = False
    input_emb_norm: bool = False
    layer_norm_type: str = "default"
    layer_norm_with_affine: bool = True
    multi_query_attention: bool | None = None
    rope: bool = False
    scale_logits: bool = False

    @property
    def embeddings(self) -> int:
        """Number of token ids that the model has a vector for."""
        return self.embedding_size or self.vocab_size


LLAMA: dict[str, tuple[object, ...]] = {
    "activation_type": ("silu",),
    "alibi": (False,),
    "attention_layer_norm": (False,),
    "bias_for_layer_norm": (False, None),
    "block_group_size": (1,),
    "block_type": ("llama",),
    "clip_qkv": (None,),
    "include_bias": (False,),
    "include_qkv_bias": (False, None),
    "input_emb_norm": (False,),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True,),
    "multi_query_attention": (False, None),
    "rope": (True,),
    "scale_logits": (False,),
}
"""The values of settings that make the model a Llama."""


def read_config(folder: Path) -> Config:
    """Read config.json.

    Raises:
        ModelError: it is missing or unreadable, or describes another architecture.
    """
    path = folder / CONFIG
    if not is_file(path):
        raise ModelError(
            f"{folder} is no checkpoint of MMaDA or LLaDA: it has no {CONFIG}; give the folder "
            "that the model was saved to"
        )
    read_settings(path)
    refuse_foreign(folder)
    config = read_json(
        path,
        Config,
        expected="the configuration of a model of MMaDA or LLaDA",
        error=ModelError,
        hint="Expected model_type mmada or llada.",
    )
    for name, allowed in LLAMA.items():
        got = getattr(config, name)
        if got not in allowed:
            raise ModelError(
                f"{path}: {name} is {json.dumps(got)}; only {json.dumps(allowed[0])} is supported, "
                "which is what the published LLaDA and MMaDA models have"
            )
    _require_whole_heads(config, path)
    return config


def empty_model(config: Config, folder: Path) -> LlamaForCausalLM:
    """Build the model without weights, on the meta device.

    Raises:
        ModelError: the sizes in the configuration do not fit together.
    """
    with explained(f"cannot use {folder / CONFIG}"), Unfilled():
        model = LlamaForCausalLM(_llama(config))
    model.eval()
    return model


def load_weights(model: LlamaForCausalLM, folder: Path, dtype: torch.dtype) -> None:
    """Read the weights of a model that was built without.

    Raises:
        ModelError: a file is missing or damaged, or weights are missing, unexpected or misshapen.
    """
    files = weight_files(folder)
    misfit = _compare(model, files)
    if misfit:
        raise ModelError(f"the weights in {folder} do not fit its {CONFIG}: {misfit}")
    with explained(f"cannot read the weights in {folder}"):
        state = {name: tensor.to(dtype) for file in files for name, tensor in _read(file)}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()


def rename(name: str) -> str | None:
    """Return the name of a weight in transformers' Llama, or None if it has none there."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    block, module = match.groups()
    if block is None:
        return f"{OUTER[module]}.weight" if module in OUTER else None
    return f"model.layers.{int(block)}.{INNER[module]}.weight" if module in INNER else None


def _require_whole_heads(config: Config, path: Path) -> None:
    """Refuse heads that do not divide the model, each other, or into pairs of channels."""
    heads, key_heads = config.n_heads, config.n_kv_heads or config.n_heads
    if config.d_model % (2 * heads):
        raise ModelError(
            f"{path}: n_heads is {heads} and d_model {config.d_model}; expected d_model to be a "
            f"multiple of 2 · n_heads, {2 * heads}"
        )
    if heads % key_heads:
        raise ModelError(
            f"{path}: n_kv_heads is {key_heads} and n_heads {heads}; expected n_heads to be a "
            "multiple of n_kv_heads"
        )


def _llama(config: Config) -> LlamaConfig:
    settings: dict[str, Any] = {
        "vocab_size": config.embeddings,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_hidden_size or config.mlp_ratio * config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads or config.n_heads,
        "max_position_embeddings": config.max_sequence_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.weight_tying,
        "bos_token_id": None,
        "eos_token_id": None,
        "use_cache": False,
        "is_causal": False,  # of the configuration: the masks are made from it
        "attn_implementation": "sdpa",
    }
    return LlamaConfig(**settings)


def _compare(model: LlamaForCausalLM, files: list[Path]) -> Misfit:
    """Compare names and shapes, from the headers alone."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del expected["lm_head.weight"]
    shapes = {
        name: info.shape for file in files for name, info in read_header(file).tensors.items()
    }
    renamed = {name: new for name in shapes if (new := rename(name)) in expected}
    return Misfit(
        missing=tuple(sorted(expected.keys() - set(renamed.values()))),
        unexpected=tuple(sorted(shapes.keys() - renamed.keys())),
        misshapen=tuple(
            misshapen(name, shapes[name], expected[new])
            for name, new in sorted(renamed.items())
            if shapes[name] != expected[new]
        ),
    )


def _read(file: Path) -> Iterator[tuple[str, Tensor]]:
    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no mapping
            yield str(rename(name)), opened.get_tensor(name)
