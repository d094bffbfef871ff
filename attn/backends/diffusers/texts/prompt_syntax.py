"""Prompt syntax of other programs, which the models here read as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HOW = "; --prompt-syntax a1111 reads it"
_WEIGHT = f"no weight is read from it, which A1111 and ComfyUI would do{_HOW}"
SYNTAX = (
    (r"<lora:([^<>:]+)(?::([^<>]*))?>", "it adds no LoRA; give --lora {}"),
    (r"<(?:lyco|hypernet):[^<>]+>", "it adds nothing to the model"),
    (r"\([^()]*[^\W\d_][^()]*:\s*[+-]?(?:[0-2]?\.\d+|[0-2])\s*\)", _WEIGHT),
    (r"\(\([^()]+\)\)", _WEIGHT),
    (
        r"\([^()]+\)(?:[+-]+|\d*\.\d+)|\w{2,}(?:\+\+|--)(?!\w)",
        "no weight is read from it, as compel does",
    ),
    (r"\[[^\[\]:]*:[^\[\]]*:\s*\d*\.?\d+\s*\]", "it switches nothing between steps"),
    (r"\bembedding:\S+", "no embedding is loaded for it"),
    (r"\bBREAK\b", "it begins no new part of the prompt"),
)
"""Pattern, and what it does not do here."""


LOOKED_AT = 4000
"""So many characters are looked at: no encoder reads more, and patterns take time for them."""


def foreign_syntax(prompt: str) -> Iterator[str]:
    """Explain each kind of foreign syntax in a prompt, by its first match."""
    for pattern, effect in SYNTAX:
        match = re.search(pattern, prompt[:LOOKED_AT])
        if match:
            told = effect.format(_command(match)) if "{}" in effect else effect
            yield f"{match[0]!r} in the prompt is read as plain text, like any word: {told}"


def _command(tag: re.Match[str]) -> str:
    """Return what is to be typed for `<lora:NAME:SCALE>`."""
    scale = f":{tag[2]}" if re.fullmatch(r"-?\d*\.?\d+", tag[2] or "") else ""
    return f"{tag[1]}.safetensors{scale}, or --prompt-syntax a1111 with --lora-dir DIR"
