"""Find a model: a folder, a file, a hub id, or the built-in demo; and say which bytes it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn import demo
from attn.errors import ModelError
from attn.files.outside import decode_json, open_regular, os_reason, read_bytes

HUB = "hub:"
"""Before a hub id: download what is not on this machine, or not the newest."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
SAFE = ".safetensors"
INDEX = "model_index.json"
CONFIG = "config.json"
HASHED = {".json", SAFE, ".model", ".jinja"}
MERGES = "merges.txt"
"""Files that a model is read from: configurations, weights, vocabularies, templates."""
MOST_FILES = 10_000
"""Of a model; a link to everything is none."""
LARGEST_CONFIG = 2**22
"""Most bytes of a configuration; published ones have a few thousand."""
LANGUAGE = {"d_model", "n_heads", "n_layers"}
"""What config.json of MMaDA and LLaDA says, and that of other models does not."""
LANGUAGE_TYPES = ("llada", "mmada")
"""Their `model_type`."""
LONGEST_TYPE = 60  # letters of another one in a message
DRAWN = tuple(f"{name}{SAFE}" for name in ("unet", "sketch_encoder", "sketch_text_combiner"))
"""Files of a checkpoint of ScribbleDiffusion; other models have at most the first."""
REFUSED = {".ckpt", ".pt", ".pth", ".bin"}
"""Endings of pickled files, which run code when they are opened."""


@dataclass(frozen=True)
class Source:
    """A model on this machine.

    Attributes:
        asked: what the user typed.
        path: the diffusers folder, or the checkpoint file.
        revision: commit of the hub snapshot, or None for local files.
    """

    asked: str
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
    asked = str(source)
    if asked == "demo" or asked.startswith("demo:"):
        return Source(asked, demo.checkpoint(demo_name(asked, family, variants)))
    path = Path(asked).expanduser()
    if asked and _exists(path):
        refuse_pickled(path)
        return Source(asked, path)
    if asked:
        _refuse_local(asked, path)
    name = asked.removeprefix(HUB)
    if HUB_ID.fullmatch(name) and path.suffix not in REFUSED | {SAFE}:
        if name != asked:
            return _from_hub(name, download or _download_pipeline)
        return _from_cache(name)
    raise ModelError(
        f"no model at '{asked}': expected {expected}, a hub id (owner/name), "
        f"or {' or '.join(['demo', *(f'demo:{name}' for name in variants)])}"
    )


def existing(asked: str, option: str) -> Path:
    """Return the file or folder that an option names.

    Raises:
        ModelError: there is none, or it is in a format that is refused.
    """
    path = Path(asked).expanduser()
    if not _exists(path):
        raise ModelError(f"{option}={asked}: there is no such file or folder")
    refuse_pickled(path)
    return path


def refuse_pickled(path: Path) -> None:
    """Refuse a file whose ending says that opening it could run code."""
    if path.suffix.lower() in REFUSED and not path.is_dir():
        raise ModelError(
            f"{path} is a pickled checkpoint, which could run any code when opened; "
            "convert it to .safetensors with a tool that you trust"
        )


def _refuse_local(asked: str, path: Path) -> None:
    """Refuse a path to nowhere that could pass for a hub id: its name is nobody's business."""
    if os.path.lexists(path):
        raise ModelError(f"no model at '{asked}': this symbolic link leads nowhere, or in a circle")
    owner = path.parent
    if HUB_ID.fullmatch(asked) and os.path.lexists(owner):
        raise ModelError(
            f"no model at '{asked}': there is a '{owner}' here without '{path.name}' in it; if "
            f"this is a hub id, say {HUB}{asked}"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:  # the name is too long, or the folder may not be looked into
        raise ModelError(f"cannot look for {path}: {exc.strerror or exc}") from exc


def is_pipeline(folder: Path) -> bool:
    """Whether this is a diffusers folder of a whole pipeline."""
    return (folder / INDEX).is_file()


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


def is_drawn(folder: Path) -> bool:
    """Whether a folder has files that only a checkpoint of ScribbleDiffusion has."""
    return any((folder / name).is_file() for name in DRAWN[1:])


def refuse_drawn(source: Source, family: str) -> None:
    """Refuse a checkpoint of ScribbleDiffusion where a family would leave its drawing out.

    Raises:
        ModelError: names the backend that takes it.
    """
    if is_drawn(source.path):
        raise ModelError(
            f"{source.asked}: this is a checkpoint of ScribbleDiffusion, which reads a drawing "
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
    if not path.is_file():
        refuse_foreign(folder)
        files = sorted(folder.glob(f"*{SAFE}"))
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


def demo_name(asked: str, family: str, variants: tuple[str, ...]) -> str:
    """Return the name in `attn.demo` of what `--model` calls `demo` or `demo:VARIANT`.

    Raises:
        ModelError: the family has no such variant.
    """
    variant = asked.partition(":")[2]
    if not variant:
        return family
    if variant not in variants:
        known = ", ".join(["demo", *(f"demo:{name}" for name in variants)])
        raise ModelError(f"no demo model {asked!r} for {family}; there are {known}")
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
    folder = cached(name)
    if folder is None:
        raise ModelError(
            f"no model at '{name}': there is no such folder here, and no model of this name was "
            f"downloaded from the hub before. If it is a folder, check the path; to download "
            f"{name} from huggingface.co, say {HUB}{name}"
        )
    return Source(name, folder, folder.name)


def cached(name: str) -> Path | None:
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
        members |= _members(name, path) if path.is_dir() else {name: path}
    pool = ThreadPoolExecutor(1, thread_name_prefix="attn-fingerprint")
    future = pool.submit(_hash, members, whole=files.keys() == {""})
    pool.shutdown(wait=False)
    known = {} if revision is None else {"revision": revision}
    return lambda: known | future.result()


def _hash(members: Mapping[str, Path], *, whole: bool) -> dict[str, Any]:
    hashes = {}
    for name in sorted(members):
        try:
            with open_regular(members[name]) as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ModelError(f"cannot read {members[name]}: {os_reason(exc)}") from exc
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    found = {"sha256": hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()}
    return found if whole else found | {"files": hashes}


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
