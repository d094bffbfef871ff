"""Prompts in the syntax of A1111's web UI: weights of words, and LoRAs by name.

Source: `parse_prompt_attention` and `extra_networks` of AUTOMATIC1111/stable-diffusion-webui.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attn.errors import UsageError, did_you_mean
from attn.files.names import SAFETENSORS
from attn.schema import Emphasis, Lora
from attn.verbs.parsing import finite_number

ROUND, SQUARE = 1.1, 1 / 1.1
"""What a pair of brackets multiplies by."""
_PIECE = re.compile(r"\\[()\[\]\\]|\\|[(\[]|:([+-]?[.\d]+)\)|[)\]]|[^\\()\[\]:]+|:")
_TAG = re.compile(r"<(\w+):([^>]*)>")
_LORA_TAGS = ("lora", "lyco")
_NOT_APPLIED = (
    (re.compile(r"\[[^\[\]:]*:[^\[\]]*:\s*\d*\.?\d+\s*\]"), "it would switch between steps"),
    (re.compile(r"\[[^\[\]|]+(?:\|[^\[\]|]+)+\]"), "it would alternate between steps"),
    (re.compile(r"\bAND\b"), "it would compose several prompts"),
    (re.compile(r"\bBREAK\b"), "it would begin another chunk of the prompt"),
)


@dataclass(frozen=True)
class WeightedPrompt:
    """A prompt without its syntax, and what that asks for.

    Attributes:
        text: what the model reads.
        emphasis: weights of parts of it, where they are not 1.
        loras: what is to be added up.
    """

    text: str
    emphasis: Emphasis
    loras: tuple[Lora, ...]


def parse_a1111(prompt: str, folder: Path | None) -> WeightedPrompt:
    """Read a prompt in A1111's syntax.

    Args:
        prompt: as it was typed.
        folder: where LoRAs are looked for by name; None finds none.

    Raises:
        UsageError: it has syntax that is not applied, or a LoRA that is not found.
    """
    for pattern, effect in _NOT_APPLIED:
        if match := pattern.search(prompt):
            raise UsageError(
                f"{match[0]!r} in the prompt is not applied by --prompt-syntax a1111 ({effect}); "
                "leave it out"
            )
    loras = tuple(_lora(match, folder) for match in _TAG.finditer(prompt))
    pieces = _weighted(_TAG.sub("", prompt).strip())
    text, emphasis = "", []
    for piece, weight in pieces:
        start, text = len(text), text + piece
        if weight != 1 and piece:
            emphasis.append((start, len(text), weight))
    return WeightedPrompt(text, tuple(emphasis), loras)


def _weighted(prompt: str) -> list[tuple[str, float]]:
    """Return the pieces of a prompt with their weights; brackets that do not close count too."""
    texts: list[str] = []
    weights: list[float] = []
    begun: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(start: int, factor: float) -> None:
        for index in range(start, len(weights)):
            weights[index] *= factor

    for match in _PIECE.finditer(prompt):
        piece, weight = match[0], match[1]
        if piece in begun:
            begun[piece].append(len(texts))
        elif weight is not None and begun["("]:
            multiply(begun["("].pop(), _number(weight, prompt))
        elif piece == ")" and begun["("]:
            multiply(begun["("].pop(), ROUND)
        elif piece == "]" and begun["["]:
            multiply(begun["["].pop(), SQUARE)
        else:
            texts.append(piece[1:] if piece.startswith("\\") else piece)
            weights.append(1.0)
    for kind, factor in (("(", ROUND), ("[", SQUARE)):
        for start in begun[kind]:
            multiply(start, factor)
    return list(zip(texts, weights, strict=True))


def _number(text: str, where: str) -> float:
    """Return a number.

    Raises:
        UsageError: it is none, or not finite.
    """
    number = finite_number(text)
    if number is None:
        raise UsageError(f"expected a number in {where!r}; got {text!r}")
    return number


def _lora(tag: re.Match[str], folder: Path | None) -> Lora:
    """Return the LoRA of `<lora:NAME:TE:UNET>` or `<lora:NAME:te=TE:unet=UNET>`.

    Raises:
        UsageError: the tag is of another kind, or its file is not found.
    """
    if tag[1] not in _LORA_TAGS:
        raise UsageError(f"{tag[0]!r} in the prompt is not applied; leave it out")
    name, *rest = tag[2].split(":")
    named = dict(piece.split("=", 1) for piece in rest if "=" in piece)
    plain = [piece for piece in rest if "=" not in piece]
    unknown = next((key for key in named if key not in {"te", "unet"}), None)
    if unknown is not None or len(plain) > 2:  # noqa: PLR2004 - of text encoders, and of the UNet
        raise UsageError(f"{tag[0]!r}: expected <lora:NAME:SCALE>, or NAME:te=SCALE:unet=SCALE")
    te = _number(named.get("te", plain[0] if plain else "1"), tag[0])
    unet = _number(named["unet"], tag[0]) if "unet" in named else te
    unet = _number(plain[1], tag[0]) if len(plain) > 1 else unet
    path = str(_file(name, tag[0], folder))
    if te == unet:
        return Lora(path, te)
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return Lora(path, unet, parts=tuple((part, te) for part in encoders))


def _file(name: str, tag: str, folder: Path | None) -> Path:
    """Return the file of a LoRA by its name.

    Raises:
        UsageError: there is none, or there are several.
    """
    if folder is None:
        raise UsageError(
            f"{tag!r} names a LoRA: say where it is with --lora-dir DIR, or leave it out and give "
            "--lora FILE:SCALE"
        )
    files = sorted(folder.rglob(f"*{SAFETENSORS}"))
    found = [file for file in files if file.name.removesuffix(SAFETENSORS) == name]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(file) for file in found)
        raise UsageError(f"{tag!r} may be any of {several}; leave it out, and give one with --lora")
    names = [file.name.removesuffix(SAFETENSORS) for file in files]
    shown = ", ".join(names[:5]) or "no .safetensors file"
    raise UsageError(
        f"{tag!r}: no LoRA is called {name!r} in {folder}, which holds {shown}."
        f"{did_you_mean(name, names)}"
    )


def shared_loras(prompts: Sequence[WeightedPrompt]) -> tuple[Lora, ...]:
    """Return the LoRAs that all prompts of a run name.

    Raises:
        UsageError: they name different ones.
    """
    first = prompts[0].loras
    other = next((prompt for prompt in prompts if set(prompt.loras) != set(first)), None)
    if other is not None:
        raise UsageError(
            f"the prompts {prompts[0].text!r} and {other.text!r} name different LoRAs, which one "
            "run cannot have; capture them one by one"
        )
    return first
