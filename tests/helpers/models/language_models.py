"""Tiny language models of transformers with random weights, and the matrices that they compute."""

import numpy as np
import torch
import transformers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

transformers.logging.set_verbosity_error()

HEADS, KEY_HEADS, BATCH, PROMPT, NEW, VOCABULARY = 6, 3, 2, 5, 4, 53
IDS = torch.tensor([[3, 5, 7, 11, 13], [17, 19, 23, 29, 31]])
MASKS = {
    "left": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    "right": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
}
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 60,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
TWO = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "eos_token_id": None,
    "decoder_start_token_id": 2,
}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
LOW_RANK = {"q_lora_rank": 12, "kv_lora_rank": 10, "qk_nope_head_dim": 8, "qk_rope_head_dim": 6}
DEEPSEEK = {"v_head_dim": 9, "moe_intermediate_size": 12, "first_k_dense_replace": 1}
BART = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 23, "decoder_ffn_dim": 23}
BART_HEADS = {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "d_model": 42}

MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig, SIZES | {"num_key_value_heads": KEY_HEADS}),
    "one key head": (LlamaForCausalLM, LlamaConfig, SIZES | {"num_key_value_heads": 1}),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config,
        {"vocab_size": VOCABULARY, "n_embd": 42, "n_head": HEADS, "n_layer": 2}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None},
    ),
    "window": (
        MistralForCausalLM,
        MistralConfig,
        SIZES | {"num_key_value_heads": KEY_HEADS, "sliding_window": 3},
    ),
    "softcap": (
        Gemma2ForCausalLM,
        Gemma2Config,
        SIZES
        | {"num_key_value_heads": KEY_HEADS, "head_dim": 10, "sliding_window": 3}
        | {"attn_logit_softcapping": 0.7},
    ),
    "latent": (
        DeepseekV2ForCausalLM,
        DeepseekV2Config,
        SIZES
        | EXPERTS
        | LOW_RANK
        | DEEPSEEK
        | {"num_key_value_heads": HEADS, "n_group": 1}
        | {"topk_group": 1},
    ),
    "experts": (
        MixtralForCausalLM,
        MixtralConfig,
        SIZES | {"num_key_value_heads": KEY_HEADS, "num_local_experts": 5},
    ),
    "sinks": (
        GptOssForCausalLM,
        GptOssConfig,
        SIZES
        | {"num_key_value_heads": KEY_HEADS, "head_dim": 10, "sliding_window": 3}
        | {"num_local_experts": 5, "num_experts_per_tok": 2},
    ),
    "t5": (
        T5ForConditionalGeneration,
        T5Config,
        TWO | {"d_model": 42, "d_kv": 7, "d_ff": 23, "num_layers": 2, "num_heads": HEADS},
    ),
    "bart": (
        BartForConditionalGeneration,
        BartConfig,
        TWO | BART | BART_HEADS | {"bos_token_id": 1, "forced_eos_token_id": None},
    ),
}


def make(name, kernel="sdpa", **more):
    """Return a model, the same weights for each kernel."""
    torch.manual_seed(5)
    model, config, sizes = MODELS[name]
    return model(config(**sizes, **more, attn_implementation=kernel)).eval()


def generate(model, mask=None, **options):
    """Write a few tokens greedily."""
    settings = {"max_new_tokens": NEW, "do_sample": False} | options
    return model.generate(IDS, attention_mask=mask, **settings)


def matrices(name, ids, mask=None):
    """Return the oracle, by layer: what the eager model computes of each text alone, in float64.

    Padding, which no text has, is 0.
    """
    model = make(name, "eager", experts_implementation="eager").double()
    valid = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    layers = None
    for row, indices in enumerate(valid):
        with torch.no_grad():
            attentions = model(ids[row : row + 1, indices], output_attentions=True).attentions
        shape = (len(ids), attentions[0].shape[1], ids.shape[1], ids.shape[1])
        layers = layers or [np.zeros(shape) for _ in attentions]
        for layer, attention in zip(layers, attentions, strict=True):
            at = np.flatnonzero(indices)
            layer[row][:, at[:, None], at] = attention[0]
    return layers


def mass(probs, valid):
    """Return the mean over the rows that are rows, (row, head, key)."""
    return np.stack([each[:, rows].mean(1) for each, rows in zip(probs, valid, strict=True)])
