"""MMaDA and LLaDA: language models that write by unmasking, every position reading every other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from attn import demo
from attn.backends.chat.prompts import read_template
from attn.backends.families.mmada import llama, text_to_image
from attn.backends.families.mmada.chat import read_vocabulary
from attn.backends.families.mmada.image_session import ImageSession
from attn.backends.families.mmada.llama import Config
from attn.backends.families.mmada.options import MMaDAOptions
from attn.backends.families.mmada.session import MMaDASession
from attn.backends.loading import source as sources
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
)
from attn.backends.loading.quiet import quiet
from attn.backends.types import Backend, ModelInfo
from attn.errors import ModelError
from attn.files.disk import is_folder

FILES = ("*.json", "*.jinja")
"""What is downloaded of a hub repository to plan a run: no code, nothing pickled."""
WEIGHTS = "*.safetensors"
"""What is downloaded besides to generate."""


class MMaDABackend(Backend):
    """Opens folders and hub ids of MMaDA and LLaDA, and the demo model."""

    Options = MMaDAOptions
    example_prompt = demo.example_prompt("mmada")
    demo_note = demo.note("mmada")

    def open(
        self,
        source: str | Path | object,
        options: MMaDAOptions,
        *,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "none",
        weights: bool = True,
    ) -> MMaDASession:
        """Open a model; see `Backend.open`."""
        if offload != "none":
            raise ModelError("this model is one network, so there is no part to offload")
        if not isinstance(source, str | Path):
            raise ModelError(f"expected a folder or a hub id, not a {type(source).__name__}")
        origin = sources.resolve(
            source,
            "mmada",
            expected="a folder with config.json",
            download=partial(_download, weights=weights),
        )
        if not is_folder(origin.path):
            raise ModelError(
                f"{origin.path} is a file; give the folder with config.json, {origin.requested}"
            )
        target = choose_device(device)
        kind = choose_dtype(dtype, target)
        config = llama.read_config(origin.path)
        tokenizer = options.tokenizer and sources.existing(options.tokenizer, "tokenizer")
        with quiet():
            vocabulary = read_vocabulary(tokenizer or origin.path, config)
            template_name = None if options.t2i else options.chat_template
            template = read_template(vocabulary.tokenizer, template_name)
            model = _model(config, origin.path, kind, target, weights=weights)
        files = {} if origin.revision else {"": origin.path}
        if tokenizer:
            files = {"model": origin.path, "tokenizer": tokenizer}
        identity = sources.fingerprint(files, origin.revision) if weights else dict
        info = ModelInfo(origin.requested, identity, dtype_name(kind), count_parameters(model))
        if not options.t2i:
            return MMaDASession(model, vocabulary, template, options, info)
        names = (options.t2i_token, options.soi_token, options.eoi_token)
        grid = (options.image_rows, options.image_columns)
        size = config.codebook_size
        codes = text_to_image.find_codes(vocabulary, config.embeddings, size, grid, names)
        return ImageSession(codes, model, vocabulary, template, options, info)


def _model(
    config: Config, folder: Path, dtype: torch.dtype, device: str, *, weights: bool
) -> LlamaForCausalLM:
    model: Any = llama.empty_model(config, folder)  # transformers' `to` has no types
    if weights:
        llama.load_weights(model, folder, dtype)
        model.to(device)
        if device == "cpu":
            align(model)
    typed: LlamaForCausalLM = model
    return typed


def _download(name: str, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*FILES, WEIGHTS] if weights else [*FILES]
    return Path(snapshot_download(name, allow_patterns=wanted))
