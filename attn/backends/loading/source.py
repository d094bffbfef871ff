"""Find a model: a folder, a file, a hub id, or the built-in demo."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attn import demo
from attn.backends.loading import hub
from attn.errors import ModelError
from attn.files.disk import is_folder
from attn.files.names import SAFETENSORS

HUB = "hub:"
"""Before a hub id: download what is not on this machine, or not the newest."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REFUSED = {".ckpt", ".pt", ".pth", ".bin"}
"""Endings of pickled files, which run code when they are opened."""


@dataclass(frozen=True)
class Source:
    """A model on this machine.

    Attributes:
        requested: what the user typed.
        path: the diffusers folder, or the checkpoint file.
        revision: commit of the hub snapshot, or None for local files.
    """

    requested: str
    path: Path
    revision: str | None = None


def resolve(
    source: str | Path,
    family: str,
    variants: tuple[str, ...] = (),
    *,
    expected: str = f"a diffusers folder, a {SAFETENSORS} file",
    download: Callable[[str], Path] | None = None,
) -> Source:
    """Find what `--model` names. Only `hub:OWNER/NAME` touches the network.

    A hub id alone is a model that was downloaded before: it cannot be told from a path that was
    mistyped, which is nobody's business.

    Args:
        source: folder, file, hub id, `hub:` and a hub id, `demo` or `demo:VARIANT`.
        family: name of the family's demo model.
        variants: names of the family's other demo models, without the family.
        expected: what the family opens, for the message.
        download: returns the folder of a hub id; None is for pipelines of diffusers.

    Raises:
        ModelError: there is no such model, or it is in a format that is refused.
    """
    requested = str(source)
    if requested == "demo" or requested.startswith("demo:"):
        return Source(requested, demo.checkpoint(demo_name(requested, family, variants)))
    path = Path(requested).expanduser()
    if requested and _exists(path):
        refuse_pickled(path)
        return Source(requested, path)
    if requested:
        _refuse_local(requested, path)
    name = requested.removeprefix(HUB)
    if HUB_ID.fullmatch(name) and path.suffix not in REFUSED | {SAFETENSORS}:
        if name != requested:
            folder = hub.fetch(name, download or hub.download_pipeline)
        else:
            folder = _cached(name)
        return Source(name, folder, folder.name)
    raise ModelError(
        f"no model at '{requested}': expected {expected}, a hub id (owner/name), "
        f"or {' or '.join(['demo', *(f'demo:{name}' for name in variants)])}"
    )


def existing(requested: str, option: str) -> Path:
    """Return the file or folder that an option names.

    Raises:
        ModelError: there is none, or it is in a format that is refused.
    """
    path = Path(requested).expanduser()
    if not _exists(path):
        raise ModelError(f"{option}={requested}: there is no such file or folder")
    refuse_pickled(path)
    return path


def refuse_pickled(path: Path) -> None:
    """Refuse a file whose ending says that opening it could run code."""
    if path.suffix.lower() in REFUSED and not is_folder(path):
        raise ModelError(
            f"{path} is a pickled checkpoint, which could run any code when opened; "
            "convert it to .safetensors with a tool that you trust"
        )


def _refuse_local(requested: str, path: Path) -> None:
    """Refuse a path to nowhere that could pass for a hub id: its name is nobody's business."""
    if os.path.lexists(path):
        raise ModelError(
            f"no model at '{requested}': this symbolic link leads nowhere, or in a circle"
        )
    owner = path.parent
    if HUB_ID.fullmatch(requested) and os.path.lexists(owner):
        raise ModelError(
            f"no model at '{requested}': there is a '{owner}' here without '{path.name}' in it; if "
            f"this is a hub id, say {HUB}{requested}"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:  # the name is too long, or the folder may not be looked into
        raise ModelError(f"cannot look for {path}: {exc.strerror or exc}") from exc


def demo_name(requested: str, family: str, variants: tuple[str, ...]) -> str:
    """Return the name in `attn.demo` of what `--model` calls `demo` or `demo:VARIANT`.

    Raises:
        ModelError: the family has no such variant.
    """
    variant = requested.partition(":")[2]
    if not variant:
        return family
    if variant not in variants:
        names = ", ".join(["demo", *(f"demo:{name}" for name in variants)])
        raise ModelError(f"no demo model {requested!r} for {family}; there are {names}")
    return f"{family}:{variant}"


def _cached(name: str) -> Path:
    folder = hub.find_cached(name)
    if folder is None:
        raise ModelError(
            f"no model at '{name}': there is no such folder here, and no model of this name was "
            f"downloaded from the hub before. If it is a folder, check the path; to download "
            f"{name} from huggingface.co, say {HUB}{name}"
        )
    return folder
