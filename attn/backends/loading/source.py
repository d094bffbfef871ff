"""Find a model: a folder, a file, a hub id, or the built-in demo; and say which bytes it was."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn import demo
from attn.checkpoints.folders import SAFE
from attn.errors import ModelError
from attn.files.disk import is_folder
from attn.files.outside import open_regular, os_reason

HUB = "hub:"
"""Before a hub id: download what is not on this machine, or not the newest."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HASHED = {".json", SAFE, ".model", ".jinja"}
MERGES = "merges.txt"
"""Files that a model is read from: configurations, weights, vocabularies, templates."""
MOST_FILES = 10_000
"""Of a model; a link to everything is none."""
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
    expected: str = f"a diffusers folder, a {SAFE} file",
    download: Callable[[str], Path] | None = None,
) -> Source:
    """Find what `--model` names. Only `hub:` and a hub id touch the network.

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
    if HUB_ID.fullmatch(name) and path.suffix not in REFUSED | {SAFE}:
        if name != requested:
            return _from_hub(name, download or _download_pipeline)
        return _from_cache(name)
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


def _download_pipeline(name: str) -> Path:
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(name, use_safetensors=True))


def _from_hub(name: str, download: Callable[[str], Path]) -> Source:
    try:
        folder = download(name)
    except (OSError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{name} could not be had from the hub: {_first_line(exc)}") from exc
    return Source(name, folder, folder.name)


def _from_cache(name: str) -> Source:
    folder = find_cached(name)
    if folder is None:
        raise ModelError(
            f"no model at '{name}': there is no such folder here, and no model of this name was "
            f"downloaded from the hub before. If it is a folder, check the path; to download "
            f"{name} from huggingface.co, say {HUB}{name}"
        )
    return Source(name, folder, folder.name)


def find_cached(name: str) -> Path | None:
    """Return the folder of a hub id that was downloaded before, if it was; asks no network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not there, or no possible id
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fingerprint(files: Mapping[str, Path], revision: str | None) -> Callable[[], dict[str, Any]]:
    """Start to identify a model in the background; the result waits for the end.

    Args:
        files: every file and folder that the model is read from, by a name that does not depend
            on where it lies; of folders, what `HASHED` and `MERGES` name counts, also
            where symbolic links lead.
        revision: of the hub's snapshot; one that is taken as it is has no `files`.

    Returns:
        `{"revision": commit}` for a hub snapshot; else `sha256`, the hash of the lines
        `<hash of file>  <name>` sorted by name, and for models in several places or in a file
        `files`, the hash of each by name.
    """
    if not files:
        return lambda: {"revision": revision}
    members: dict[str, Path] = {}
    for name, path in files.items():
        members |= _members(name, path) if is_folder(path) else {name: path}
    pool = ThreadPoolExecutor(1, thread_name_prefix="attn-fingerprint")
    future = pool.submit(_hash, members, whole=files.keys() == {""})
    pool.shutdown(wait=False)
    pinned = {} if revision is None else {"revision": revision}
    return lambda: pinned | future.result()


def _hash(members: Mapping[str, Path], *, whole: bool) -> dict[str, Any]:
    hashes = {}
    for name in sorted(members):
        try:
            with open_regular(members[name]) as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ModelError(f"cannot read {members[name]}: {os_reason(exc)}") from exc
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    total = {"sha256": hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()}
    return total if whole else total | {"files": hashes}


def _members(name: str, folder: Path) -> dict[str, Path]:
    """Return every file of a folder that may be read, by its place in it; links are followed."""
    prefix = f"{name}/" if name else ""
    files = {}
    try:
        for number, path in enumerate(_walk(folder, ())):
            if number > MOST_FILES:
                raise ModelError(f"{folder} has more than {MOST_FILES} files: this is no model")
            if path.suffix in HASHED or path.name == MERGES:
                files[prefix + path.relative_to(folder).as_posix()] = path
    except OSError as exc:
        raise ModelError(f"cannot read {folder}: {os_reason(exc)}") from exc
    return files


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield files, also of folders that symbolic links lead to; a circle is refused."""
    real = folder.resolve()
    if real in above:
        raise ModelError(f"{folder}: its symbolic links lead in a circle")
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path, (*above, real))
        elif path.exists():
            yield path
