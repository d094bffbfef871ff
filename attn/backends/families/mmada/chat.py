"""The vocabularies of LLaDA and MMaDA, which have a mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from attn.backends.chat.prompts import Vocabulary
from attn.backends.diffusers.texts.tokens import special_ids
from attn.backends.families.mmada.llama import Config
from attn.backends.loading import tokenizers
from attn.checkpoints.folders import CONFIG
from attn.errors import ModelError
from attn.files.disk import is_file

MASK = "<|mdm_mask|>"
"""Name of the mask in the vocabularies of LLaDA and MMaDA."""


@dataclass(frozen=True)
class MaskedVocabulary(Vocabulary):
    """A vocabulary with a mask; `mask` is its id."""

    mask: int


def read_vocabulary(folder: Path, config: Config) -> MaskedVocabulary:
    """Read the tokenizer in a folder, and check that it is the model's.

    Raises:
        ModelError: it is missing or unreadable, or belongs to another model.
    """
    if not is_file(folder / "tokenizer.json"):
        raise ModelError(
            f"{folder} has no tokenizer.json; put the model's tokenizer there, or name the folder "
            "that holds it with --set tokenizer=DIR"
        )
    tokenizer = tokenizers.read(PreTrainedTokenizerFast, folder)
    specials = special_ids(tokenizer)
    _require_same_vocabulary(tokenizer, specials, config, folder)
    mask = _mask(tokenizer, config, folder)
    return MaskedVocabulary(tokenizer, specials | {mask}, mask)


def _require_same_vocabulary(
    tokenizer: Any, specials: frozenset[int], config: Config, folder: Path
) -> None:
    if len(tokenizer) > config.embeddings:
        raise ModelError(
            f"the tokenizer in {folder} is of another model: it has {len(tokenizer)} tokens, the "
            f"model has vectors for {config.embeddings}"
        )
    for name in ("mask_token_id", "eos_token_id", "pad_token_id"):
        number = getattr(config, name)
        if number is not None and number not in specials:
            token = tokenizer.convert_ids_to_tokens(number) if number < len(tokenizer) else None
            what = f"the token {token!r}" if token else "no token"
            raise ModelError(
                f"the tokenizer in {folder} is of another model: {CONFIG} says {name} {number}, "
                f"which is {what} there; expected a special token"
            )


def _mask(tokenizer: Any, config: Config, folder: Path) -> int:
    """Return the id of the mask."""
    named = tokenizer.get_vocab().get(MASK, tokenizer.mask_token_id)
    stated = config.mask_token_id
    if stated is None and named is None:
        raise ModelError(
            f"nothing says which token is the mask: expected mask_token_id in {CONFIG}, or a "
            f"token {MASK} in the tokenizer in {folder}"
        )
    if None not in (stated, named) and stated != named:
        raise ModelError(
            f"the tokenizer in {folder} is of another model: its mask is token {named}, {CONFIG} "
            f"says {stated}"
        )
    return int(named if stated is None else stated)
