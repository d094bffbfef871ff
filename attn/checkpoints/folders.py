"""Folders of models: what their configurations say they hold; no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attn.errors import ModelError
from attn.files.disk import is_file
from attn.files.names import SAFETENSORS
from attn.files.outside import decode_json, read_bytes

INDEX = "model_index.json"
CONFIG = "config.json"
LARGEST_CONFIG = 2**22
"""Most bytes of a configuration; published ones have a few thousand."""
LANGUAGE = {"d_model", "n_heads", "n_layers"}
"""What config.json of MMaDA and LLaDA says, and that of other models does not."""
LANGUAGE_TYPES = ("llada", "mmada")
"""Their `model_type`."""
LONGEST_TYPE = 60  # letters of another one in a message
SCRIBBLE_FILES = tuple(
    f"{name}{SAFETENSORS}" for name in ("unet", "sketch_encoder", "sketch_text_combiner")
)
"""Files of a checkpoint of ScribbleDiffusion; other models have at most the first."""


def is_pipeline(folder: Path) -> bool:
    """Whether this is a diffusers folder of a whole pipeline."""
    return is_file(folder / INDEX)


def is_language_model(folder: Path) -> bool:
    """Whether a folder has the configuration of a model in the layout of MMaDA and LLaDA."""
    try:
        return not is_pipeline(folder) and read_object(folder / CONFIG).keys() >= LANGUAGE
    except ModelError:
        return False


def refuse_foreign(folder: Path) -> None:
    """Refuse a transformers folder of an architecture that no backend here reads, by its name.

    Raises:
        ModelError: `config.json` says which architecture it is, and it is another one.
    """
    try:
        kind = read_object(folder / CONFIG).get("model_type")
    except ModelError:
        return
    if isinstance(kind, str) and kind.lower() not in LANGUAGE_TYPES:
        raise ModelError(
            f"{folder} holds a model of type {kind[:LONGEST_TYPE]!r}, for which no backend is "
            "built in; see `attn backends` for those that are installed, or load it yourself to "
            "record it: with attn.tap(model, '*.self_attn') as tapped: model(…)"
        )


def is_scribble_diffusion(folder: Path) -> bool:
    """Whether a folder has files that only a checkpoint of ScribbleDiffusion has."""
    return any(is_file(folder / name) for name in SCRIBBLE_FILES[1:])


def refuse_scribble_diffusion(folder: Path, family: str, requested: str) -> None:
    """Refuse a checkpoint of ScribbleDiffusion where a family would leave its drawing out.

    Args:
        folder: of the model; a file is none.
        family: that is to open it.
        requested: what the user typed.

    Raises:
        ModelError: names the backend that takes it.
    """
    if is_scribble_diffusion(folder):
        raise ModelError(
            f"{requested}: this is a checkpoint of ScribbleDiffusion, which reads a drawing "
            f"beside the text; {family} would leave that out: use --backend scribble"
        )


def read_index(folder: Path) -> dict[str, Any]:
    """Return `model_index.json` of a diffusers folder.

    Raises:
        ModelError: missing, or not a JSON object.
    """
    path = folder / INDEX
    if is_language_model(folder):
        raise ModelError(
            f"{folder} holds a language model in the layout of MMaDA and LLaDA, not a diffusers "
            "pipeline; use --backend mmada"
        )
    if not is_file(path):
        refuse_foreign(folder)
        files = sorted(folder.glob(f"*{SAFETENSORS}"))
        hint = "the folder that the model was saved to"
        if len(files) == 1:
            hint = f"the file itself: {files[0]}"
        elif files:
            names = ", ".join(file.name for file in files)
            hint = f"the file of the denoiser itself, one of {names}"
        raise ModelError(f"{folder} is not a diffusers folder: it has no {INDEX}; give {hint}")
    index = read_object(path)
    if not isinstance(index.get("_class_name"), str):
        raise ModelError(f"{path} does not say which pipeline it is (no _class_name)")
    return index


def read_unet(folder: Path) -> dict[str, Any]:
    """Return the configuration of the UNet in a diffusers folder; empty where there is none."""
    path = folder / "unet" / CONFIG
    return read_object(path) if is_file(path) else {}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    The libraries write numbers that JSON does not have (`-Infinity`, by which some samplers say
    that they clip nothing); they are read too.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    hint = "Download or save the model again."
    data = read_bytes(path, limit=LARGEST_CONFIG, error=ModelError, hint=hint)
    try:
        return decode_json(
            path, data, dict[str, Any], expected="a JSON object", error=ModelError, hint=hint
        )
    except ModelError:
        if (settings := _with_infinities(data)) is None:
            raise
        return settings


def _with_infinities(data: bytes) -> dict[str, Any] | None:
    if not any(name in data for name in (b"Infinity", b"NaN")):
        return None
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None
