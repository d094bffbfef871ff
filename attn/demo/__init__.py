"""Built-in toy models: real diffusers folders with tiny random weights, made offline on first use.

Importing this module loads no torch; the first `checkpoint` of a model does.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs

from attn.errors import ModelError, did_you_mean

__all__ = ["EXAMPLE_PROMPT", "NAMES", "build", "checkpoint"]

EXAMPLE_PROMPT: str = "a red cat sitting on a wooden chair in a garden"
NAMES: tuple[str, ...] = ("sd15", "sdxl", "sd35", "sd35:medium")
VERSION = 1  # raise it when the saved models change, so that nobody keeps an old copy


def checkpoint(name: str) -> Path:
    """Find the demo model in the user's cache, building it on first use.

    The cache is the platform's own, or the folder in the environment variable `ATTN_CACHE`. Two
    processes may build at once: the first to finish wins, both return the same folder.

    Args:
        name: one of `NAMES`.

    Returns:
        A folder for `DiffusionPipeline.from_pretrained`; treat it as read-only.

    Raises:
        ModelError: the name is unknown, or the cache cannot be written.
    """
    _require_known(name)
    folder = _cache() / name.replace(":", "-")
    if folder.is_dir():
        return folder
    try:
        _install(name, folder)
    except OSError as error:
        raise ModelError(
            f"cannot write the demo model {name!r} to {folder}: {error}. "
            "Set ATTN_CACHE to a folder that you may write to."
        ) from error
    return folder


def build(name: str, folder: Path, *, seed: int = 0) -> None:
    """Build a demo model into a folder of your choice.

    Args:
        name: one of `NAMES`.
        folder: destination, created if missing.
        seed: of the weights; the same seed gives the same safetensors files, byte for byte.

    Raises:
        ModelError: the name is unknown.
    """
    _require_known(name)
    from attn.demo import tiny  # noqa: PLC0415  diffusers takes seconds to import

    tiny.save(name, folder, seed=seed)


def _require_known(name: str) -> None:
    if name not in NAMES:
        raise ModelError(
            f"unknown demo model {name!r}: expected one of {', '.join(NAMES)}."
            + did_you_mean(name, NAMES)
        )


def _cache() -> Path:
    """Folder for models of this version, saved by this diffusers."""
    root = os.environ.get("ATTN_CACHE") or platformdirs.user_cache_path("attn")
    release = ".".join(version("diffusers").split(".")[:2])
    return Path(root) / f"demo-{VERSION}-diffusers-{release}"


def _install(name: str, folder: Path) -> None:
    """Build next to `folder` and move into place at once, so nobody sees a half-built model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch, folder.name)
        build(name, built)
        try:
            built.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
