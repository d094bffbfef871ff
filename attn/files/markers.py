"""The marker of a folder of ours: what made it, and which files in it are ours.

A file is ours if the marker lists it and it is as it was written; all else in the folder is not.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from attn.files.digests import hash_file, require_digest, require_seal, seal
from attn.files.outside import BUFFER, read_bytes
from attn.versions import attn_version

MARKER = ".attn.json"
LARGEST = 2**26
"""Bytes that a marker may have: those of some 500,000 files."""
REMEDY = "Run the command that made these results again."
SCHEMA = 1
"""Version of the marker."""


@dataclass(frozen=True)
class Marker:
    """What a folder of ours says of itself.

    Attributes:
        attn: the version that made it.
        pid: of the process.
        started: when the folder was made, ISO 8601 in UTC.
        command: what made the results; of a temporary folder nothing.
        goal: of a temporary folder: the name beside it that its contents are for.
        files: of results: SHA-256 by path, relative to the folder.
        schema: version of the marker.
    """

    attn: str
    pid: int
    started: str
    command: str = ""
    goal: str = ""
    files: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


def is_marked(folder: Path) -> bool:
    """Whether a folder is ours."""
    return read_marker(folder) is not None


def read_marker(folder: Path) -> Marker | None:
    """Read the marker of a folder that attn made, or None."""
    path = folder / MARKER
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return None
        marker = msgspec.convert(json.loads(path.read_bytes()), Marker)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError):
        return None
    is_name = marker.goal == Path(marker.goal).name and marker.goal != ".."
    return marker if is_name and marker.schema == SCHEMA else None


def write_marker(
    folder: Path,
    *,
    command: str = "",
    goal: str = "",
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Mark a folder as ours; see `Marker`."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    marker = Marker(attn_version(), os.getpid(), started, command, goal, dict(files))
    text = msgspec.json.format(json.dumps(asdict(marker)), indent=1)  # names need not be UTF-8
    with (folder / MARKER).open("wb", BUFFER) as stream:
        stream.write(seal(text.encode("ascii")))


def ours(folder: Path) -> set[str]:
    """Return the paths of result files that attn wrote and that are unchanged since."""
    marker = read_marker(folder)
    if marker is None:
        return set()
    files = (name for name in entries(folder) if name in marker.files)
    return {MARKER} | {name for name in files if _sha256(folder, name) == marker.files[name]}


def require_unchanged(folder: Path, name: str) -> None:
    """Refuse a file of results that is not as it was written; without a marker nobody knows.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it, or the marker, was changed, or is gone.
    """
    marker = read_marker(folder)
    if marker is not None:
        require_seal(folder / MARKER, read_bytes(folder / MARKER), REMEDY)
        if name in marker.files:
            require_digest(folder / name, marker.files[name], REMEDY)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder that holds nothing else."""
    return {name: str(_sha256(folder, name)) for name in entries(folder)}


def entries(folder: Path) -> list[str]:
    """Return every file, link and empty folder below a folder; links are not followed."""
    paths: list[str] = []
    left = [""]
    while left:
        below = left.pop()
        with os.scandir(f"{folder}/{below}") as listed:
            items = [(f"{below}{item.name}", item.is_dir(follow_symlinks=False)) for item in listed]
        left += [f"{name}/" for name, is_folder in items if is_folder]
        paths += [name for name, is_folder in items if not is_folder]
        if below and not items:
            paths.append(below.rstrip("/"))
    return sorted(paths)


def _sha256(folder: Path, name: str) -> str | None:
    """Return the digest of a file; of anything else, which is never ours, None."""
    return hash_file(f"{folder}/{name}")  # a path object costs more than the file
