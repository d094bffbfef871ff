"""Find a model: a folder, a hub id, or the built-in demo; and say which bytes it was."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from attn import demo
from attn.errors import ModelError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REFUSED = {".ckpt", ".pt", ".pth", ".bin"}
"""Endings of pickled files, which run code when they are opened."""


@dataclass(frozen=True)
class Source:
    """A model on this machine.

    Attributes:
        asked: what the user typed.
        folder: the diffusers folder.
        revision: commit of the hub snapshot, or None for local files.
    """

    asked: str
    folder: Path
    revision: str | None = None


def resolve(source: str | Path, family: str, variants: tuple[str, ...]) -> Source:
    """Find what `--model` names. Only a hub id that is not on this machine touches the network.

    Args:
        source: folder, hub id, `demo` or `demo:VARIANT`.
        family: name of the family's demo model.
        variants: names of the family's other demo models, without the family.

    Raises:
        ModelError: there is no such model, or it is in a format that is refused.
    """
    asked = str(source)
    if asked == "demo" or asked.startswith("demo:"):
        return Source(asked, demo.checkpoint(_demo_name(asked, family, variants)))
    path = Path(asked).expanduser()
    if path.is_dir():
        return Source(asked, path)
    if path.is_file():
        raise ModelError(_refuse_file(path))
    if HUB_ID.fullmatch(asked):
        return _from_hub(asked)
    raise ModelError(
        f"no model at {asked}: expected a diffusers folder, a hub id (owner/name), "
        f"or {' or '.join(['demo', *(f'demo:{name}' for name in variants)])}"
    )


def _demo_name(asked: str, family: str, variants: tuple[str, ...]) -> str:
    variant = asked.partition(":")[2]
    if not variant:
        return family
    if variant not in variants:
        known = ", ".join(["demo", *(f"demo:{name}" for name in variants)])
        raise ModelError(f"no demo model {asked!r} for {family}; there are {known}")
    return f"{family}:{variant}"


def _refuse_file(path: Path) -> str:
    if path.suffix in REFUSED:
        return (
            f"{path} is a pickled checkpoint, which could run any code when opened; "
            "convert it to .safetensors with a tool that you trust"
        )
    return f"{path} is a file; expected a diffusers folder (the one that holds model_index.json)"


def _from_hub(name: str) -> Source:
    from diffusers import DiffusionPipeline

    try:
        folder = Path(DiffusionPipeline.download(name, use_safetensors=True))
    except (OSError, ValueError, RuntimeError) as exc:
        raise ModelError(
            f"{name} is no folder here, and could not be had from the hub: {_first_line(exc)}"
        ) from exc
    return Source(name, folder, folder.name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fingerprint(source: Source) -> Callable[[], dict[str, str]]:
    """Start to identify a model in the background; the result waits for the end.

    Returns:
        `{"revision": commit}` for a hub snapshot, else `{"sha256": …}`: the hash of the lines
        `<hash of file>  <relative path>` of every .json and .safetensors file, sorted by path.
    """
    if source.revision is not None:
        revision = source.revision
        return lambda: {"revision": revision}
    pool = ThreadPoolExecutor(1, thread_name_prefix="attn-fingerprint")
    future = pool.submit(_hash_folder, source.folder)
    pool.shutdown(wait=False)
    return lambda: {"sha256": future.result()}


def _hash_folder(folder: Path) -> str:
    paths = [path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")]
    lines = []
    for name in sorted(path.relative_to(folder).as_posix() for path in paths):
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
