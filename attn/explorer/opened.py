"""What is shown: traces, each under a number, and those of their files that a page may read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

import msgspec

from attn.errors import TraceError
from attn.explorer.description import describe
from attn.explorer.rows import Rows
from attn.files.disk import is_file, reported
from attn.schema import Manifest, image_names
from attn.trace.store import MANIFEST, load_manifest

DEEPEST = 4
"""Levels below a folder on which traces are looked for; a comparison's are on the third."""
MOST = 10_000
"""Traces of a folder that are listed."""
KEPT = 16
"""Manifests that are kept in memory."""


@dataclass(frozen=True)
class Item:
    """Something that can be looked at.

    Attributes:
        id: what addresses name it by.
        folder: where it lies.
        label: what people call it.
    """

    id: str
    folder: Path
    label: str


@dataclass(frozen=True)
class FailedTrace:
    """A trace that a collection lists and that could not be made.

    Attributes:
        label: what people call it.
        prompt: that it was to be of.
        seed: that it was to be of.
        error: why there is none.
    """

    label: str
    prompt: str
    seed: int
    error: str


@dataclass
class Library:
    """What was opened.

    Attributes:
        items: in the order in which they are listed.
        failures: listed behind them.
    """

    items: list[Item] = field(default_factory=list)
    failures: list[FailedTrace] = field(default_factory=list)
    _rows: Rows = field(default_factory=Rows, repr=False)

    def item(self, number: str) -> Item | None:
        """Return the item of an address, or None."""
        is_number = number.isascii() and number.isdecimal() and len(number) <= len(str(MOST))
        return self.items[int(number)] if is_number and int(number) < len(self.items) else None

    def index(self) -> bytes:
        """Return what the page lists, as JSON."""
        rows = [self._row(item) for item in self.items]
        self._rows.keep()
        return msgspec.json.encode({"items": rows, "failures": self.failures})

    def _row(self, item: Item) -> dict[str, object]:
        """Return one line of the index; what cannot be read says so."""
        row: dict[str, object] = {"id": item.id, "label": item.label}
        try:
            return row | self._rows.row(item.folder, tuple(_stamps(item.folder)))
        except TraceError as error:
            return row | {"error": str(error)}


def open_library(paths: Sequence[Path]) -> Library:
    """Look for traces.

    Args:
        paths: traces, or folders with traces in them.

    Raises:
        TraceError: a path holds no trace, or cannot be read.
    """
    library = Library()
    for path in paths:
        folders = list(islice(_find(path, DEEPEST), MOST))
        if not folders:
            raise TraceError(
                f"{path} holds no trace; make one with attn capture --out {path / 'NAME'}"
            )
        for folder in folders:
            is_inner = folder != path and path.is_dir()
            label = folder.relative_to(path).as_posix() if is_inner else folder.name
            item = Item(str(len(library.items)), folder.absolute(), label or str(folder))
            library.items.append(item)
    return library


def file_of(item: Item, name: str) -> Path | None:
    """Return a file of a trace that its manifest lists; None for any other name.

    The name is only ever compared with those that the manifest has, and what it leads to must be a
    regular file in the trace's folder.
    """
    try:
        manifest = manifest_of(item.folder)
        if name not in (*(shard.file for shard in manifest.shards), *manifest.outputs):
            return None
        root, path = item.folder.resolve(), (item.folder / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (TraceError, OSError, ValueError):  # gone; a name that is no name
        return None


def picture_of(item: Item) -> Path | None:
    """Return the first picture of a trace; None where there is none."""
    try:
        names = image_names(manifest_of(item.folder).outputs)
    except TraceError:  # gone
        return None
    return file_of(item, names[0]) if names else None


def facts_of(item: Item) -> bytes:
    """Return what a page has to know of a trace, as JSON.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    return msgspec.json.encode({"label": item.label, **describe(manifest_of(item.folder))})


def manifest_of(folder: Path) -> Manifest:
    """Return the manifest of a trace as it is now; it is read again only when it has changed.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    return _load(folder, tuple(_stamps(folder)))


@lru_cache(maxsize=KEPT)
def _load(folder: Path, stamps: tuple[tuple[int, int, int], ...]) -> Manifest:
    del stamps  # only part of the key
    return load_manifest(folder)


def _stamps(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Yield what changes when a manifest or its journal does."""
    for name in (MANIFEST, "attention/shards.jsonl"):
        try:
            about = os.stat(f"{folder}/{name}")  # noqa: PTH116 - of ten thousand traces
        except FileNotFoundError:
            continue
        except OSError:
            with reported(folder / name, "read"):
                raise
        yield about.st_mtime_ns, about.st_size, about.st_ino


def _find(path: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of traces, not those inside of traces."""
    if path.name == MANIFEST:
        path = path.parent
    if is_file(path / MANIFEST):
        yield path
        return
    if not depth:
        return
    with reported(path, "read"), os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        if not name.startswith("."):
            yield from _find(path / name, depth - 1)
