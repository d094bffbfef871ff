"""Folders of tiny causal language models with a tokenizer of words and a chat template."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from attn.demo import language

transformers.logging.set_verbosity_error()

HEADS, KEY_HEADS = 6, 3
LLAMA = {"hidden_size": 60, "intermediate_size": 20, "num_attention_heads": HEADS}
GROUPED = LLAMA | {"num_key_value_heads": KEY_HEADS}
GPT = {"n_embd": 42, "n_head": HEADS, "n_layer": 2}
KINDS = {
    "llama": GROUPED,
    "gpt2": GPT,
    "mistral": GROUPED | {"sliding_window": 5},
    "gemma2": GROUPED | {"head_dim": 10, "sliding_window": 5},
    "qwen3": GROUPED | {"head_dim": 10},
    "gpt_oss": GROUPED | {"head_dim": 10, "sliding_window": 5, "num_local_experts": 5},
    "gpt_neox": LLAMA,
    "bloom": {"hidden_size": 42, "n_head": HEADS, "n_layer": 2},
    "opt": {"hidden_size": 42, "ffn_dim": 23, "num_attention_heads": HEADS}
    | {"word_embed_proj_dim": 42},
}


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory):
    """Return a function that saves a model of some kind, with random weights, and its tokenizer."""
    folders = {}

    def make(kind="llama", **changes):
        key = kind, *sorted(changes.items())
        if key not in folders:
            folders[key] = save(tmp_path_factory.mktemp(kind), kind, changes)
        return folders[key]

    return make


def save(folder, kind, changes):
    """Save a model and its tokenizer."""
    tokenizer = language.tokenizer()
    shared = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, "bos_token_id": None}
    shared |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    torch.manual_seed(5)
    config = AutoConfig.for_model(kind, **shared | KINDS[kind] | changes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
