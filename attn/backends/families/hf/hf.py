"""Any causal language model of transformers, through its own tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from attn.backends.chat.backend import ModelFolder, TextBackend
from attn.backends.chat.prompts import Template, Vocabulary, read_template
from attn.backends.diffusers.texts.tokens import special_ids
from attn.backends.families.hf.loading import load_model
from attn.backends.families.hf.options import HFOptions
from attn.backends.families.hf.pictures import Picture, read_picture
from attn.backends.families.hf.session import HFSession, Reader
from attn.backends.loading import tokenizers
from attn.backends.loading.library_classes import find_class
from attn.backends.loading.quiet import quiet
from attn.checkpoints.folders import CONFIG, INDEX, is_language_model, read_object
from attn.errors import ModelError, UsageError
from attn.files.disk import is_file

GENERATION = "generation_config.json"
CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
SEEING = frozenset(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values())
"""Classes that read a picture in their text, or beside it."""
TAP = "attn.tap captures what your own code runs of it (docs/python.md)"


class HFBackend(TextBackend):
    """Opens folders and hub ids of causal language models."""

    Options = HFOptions
    name = "hf"
    example_prompt = ""
    demo_note = ""

    def default_model(self, options: HFOptions) -> str:
        """Refuse to go on without a model; see `Backend.default_model`."""
        raise UsageError(
            "backend hf has no built-in demo model; name one with --model: a folder that "
            "transformers saved, or a hub id (hub:OWNER/NAME to download)"
        )

    def open_folder(self, folder: ModelFolder, options: HFOptions) -> HFSession:
        """Open a model that was found; see `TextBackend.open_folder`."""
        settings = _read_settings(folder.path)
        cls = _find_class(folder.path, settings)
        reader = _read_vocabulary(folder.tokenizer, folder.path, options, settings)
        others: dict[str, Path] = {}
        if options.image is not None:
            reader = replace(reader, picture=_see(cls, folder.path, options.image))
            others = {"image": Path(options.image).expanduser()}
        model = load_model(cls, folder.path, folder.dtype, weights=folder.weights)
        _require_readable(model, reader, folder.tokenizer)
        model.set_attn_implementation(_choose_attention(cls, options))
        folder.place(model)
        return HFSession(model, reader, options, folder.describe(model, others))


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return config.json.

    Raises:
        ModelError: there is none, or it is of a model that another backend opens.
    """
    if is_file(folder / INDEX):
        raise ModelError(
            f"{folder} is a pipeline of diffusers, no language model; see `attn backends` for the "
            "backend of its family"
        )
    if not is_file(folder / CONFIG):
        raise ModelError(
            f"{folder} is no model of transformers: it has no {CONFIG}; give the folder that the "
            "model was saved to"
        )
    if is_language_model(folder):
        raise ModelError(
            f"{folder} holds a model that unmasks, LLaDA or MMaDA; use --backend mmada"
        )
    return read_object(folder / CONFIG)


def _find_class(folder: Path, settings: dict[str, Any]) -> Any:
    """Return the class of transformers that config.json names, if it writes token by token."""
    names = settings.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    kind = settings.get("model_type")
    if not isinstance(name, str):
        name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind) if isinstance(kind, str) else None
    if name is None:
        raise ModelError(
            f"{folder / CONFIG} names no architecture (architectures, model_type), so it is "
            "unclear what the model is"
        )
    if name not in CAUSAL | SEEING or settings.get("is_encoder_decoder"):
        raise ModelError(f"{folder / CONFIG}: {_why_not(name, settings)}")
    cls = find_class("transformers", name, "the model")
    if getattr(cls, "_is_stateful", False):
        raise ModelError(
            f"{name} keeps a state beside its attention, which one sequence of keys does not "
            f"describe; {TAP}"
        )
    return cls


def _why_not(name: str, settings: dict[str, Any]) -> str:
    if "audio_config" in settings:
        return f"{name} reads sound beside the text, which the backend hf does not; {TAP}"
    if settings.get("is_encoder_decoder"):
        return f"{name} has an encoder, and the backend hf opens decoders only; {TAP}"
    if "auto_map" in settings:
        return f"{name} is code of its own beside the weights (auto_map), which is not run"
    return (
        f"{name} is no causal language model of the installed transformers; expected an "
        f"architecture such as LlamaForCausalLM. {TAP[0].upper()}{TAP[1:]}"
    )


def _see(cls: Any, folder: Path, file: str) -> Picture:
    """Return the picture of a model that reads one.

    Raises:
        ModelError: it reads none.
    """
    if cls.__name__ not in SEEING:
        raise ModelError(
            f"{cls.__name__} reads no pictures, so image={file} would have no effect; leave it out"
        )
    return read_picture(folder, file)


def _choose_attention(cls: Any, options: HFOptions) -> str:
    """Return how a model computes its attention: in the open where it has no other way."""
    return options.attention if getattr(cls, "_supports_sdpa", False) else "eager"


def _read_vocabulary(
    folder: Path, model: Path, options: HFOptions, settings: dict[str, Any]
) -> Reader:
    """Read the tokenizer, its chat template, and which tokens end a text."""
    with quiet():
        tokenizer = tokenizers.read(AutoTokenizer, folder)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer in {folder} does not say which characters a token is of "
            f"({type(tokenizer).__name__}); expected a tokenizer.json beside it"
        )
    template: Template = None
    has_template = isinstance(tokenizer.chat_template, str)
    if options.chat_template not in (None, "model") or has_template:
        template = read_template(tokenizer, options.chat_template)
    stated = settings
    if is_file(model / GENERATION):
        stated = settings | read_object(model / GENERATION)
    ends = {*_numbers(stated.get("eos_token_id")), *_numbers(tokenizer.eos_token_id)}
    return Reader(Vocabulary(tokenizer, special_ids(tokenizer)), template, frozenset(ends))


def _numbers(value: object) -> Sequence[int]:
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int)]


def _require_readable(model: Any, reader: Reader, folder: Path) -> None:
    """Refuse a tokenizer with more tokens than the model has vectors for."""
    size, vectors = len(reader.vocabulary.tokenizer), model.get_input_embeddings().weight.shape[0]
    if size > vectors:
        raise ModelError(
            f"the tokenizer in {folder} is of another model: it has {size} tokens, the model has "
            f"vectors for {vectors}"
        )
