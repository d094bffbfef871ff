"""Models of the hub: downloaded when that is asked for, else looked up on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attn.backends.loading.explain import first_line
from attn.errors import ModelError
from attn.files.names import SAFETENSORS

DESCRIPTIONS = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files that say what a language model is: no code, nothing pickled."""


def fetch(name: str, download: Callable[[str], Path]) -> Path:
    """Download a model, or what is new of it, and return its folder.

    Raises:
        ModelError: it cannot be had.
    """
    try:
        return download(name)
    except (OSError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{name} could not be had from the hub: {first_line(exc)}") from exc


def find_cached(name: str) -> Path | None:
    """Return the folder of a hub id that was downloaded before, if it was; asks no network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not there, or no possible id
        return None


def download_pipeline(name: str) -> Path:
    """Download a pipeline of diffusers."""
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(name, use_safetensors=True))


def download_language_model(name: str, *, weights: bool) -> Path:
    """Download a language model; without weights only what a run is planned from."""
    from huggingface_hub import snapshot_download

    patterns = [*DESCRIPTIONS, f"*{SAFETENSORS}"] if weights else [*DESCRIPTIONS]
    return Path(snapshot_download(name, allow_patterns=patterns))
