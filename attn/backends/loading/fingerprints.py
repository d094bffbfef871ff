"""Which bytes a model is: hashes of its files, made in the background."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attn.errors import ModelError
from attn.files.names import SAFETENSORS
from attn.files.outside import open_regular, unread

HASHED = {".json", SAFETENSORS, ".model", ".jinja"}
MERGES = "merges.txt"
"""Files that a model is read from: configurations, weights, vocabularies, templates."""
MOST_FILES = 10_000
"""Of a model; a link to everything is none."""


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
    pinned = {} if revision is None else {"revision": revision}
    return lambda: pinned | future.result()


def _hash(members: Mapping[str, Path], *, whole: bool) -> dict[str, Any]:
    hashes = {}
    for name in sorted(members):
        try:
            with open_regular(members[name]) as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ModelError(unread(members[name], exc)) from exc
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
        raise ModelError(unread(folder, exc)) from exc
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
