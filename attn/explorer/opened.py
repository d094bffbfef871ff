"""What is shown: traces and comparisons, each under a number, and which files a page may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from attn.errors import TraceError
from attn.explorer.comparisons import (
    SUMMARY,
    ListedTrace,
    describe_comparison,
    read_comparison,
)
from attn.explorer.description import describe
from attn.explorer.rows import Rows
from attn.files.disk import reported
from attn.files.results import COMPARISON
from attn.schema import Manifest, image_names
from attn.trace.store import MANIFEST, load_manifest

DEEPEST = 4
"""Levels below a folder on which traces are looked for; a comparison's are on the third."""
MOST = 10_000
"""Traces of a folder that are listed."""
KEPT = 16
"""Manifests that are kept in memory."""
BESIDE = 4
"""As many traces at most are shown side by side."""


@dataclass(frozen=True)
class Item:
    """Something that can be looked at.

    Attributes:
        id: what addresses name it by.
        folder: where it lies.
        label: what people call it.
        kind: `trace` or `comparison`.
    """

    id: str
    folder: Path
    label: str
    kind: str = "trace"


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
        beside: ids of those that were named one by one, to be shown side by side.
    """

    items: list[Item] = field(default_factory=list)
    failures: list[FailedTrace] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    _rows: Rows = field(default_factory=Rows, repr=False)

    def item(self, number: str) -> Item | None:
        """Return the item of an address, or None."""
        is_number = number.isascii() and number.isdecimal() and len(number) <= len(str(MOST))
        return self.items[int(number)] if is_number and int(number) < len(self.items) else None

    def add(self, folder: Path, label: str) -> Item:
        """Return the item of a trace that is made while it is looked at, listed from now on."""
        path = folder.absolute()
        for item in self.items:
            if item.folder == path:
                return item
        self.items.append(Item(str(len(self.items)), path, label))
        return self.items[-1]

    def index(self) -> bytes:
        """Return what the page lists, as JSON."""
        rows = [self._row(item) for item in self.items]
        self._rows.keep()
        return msgspec.json.encode(
            {"items": rows, "failures": self.failures, "beside": self.beside}
        )

    def members(self) -> list[ListedTrace]:
        """Return all traces that can be read."""
        rows = [(item, self._row(item)) for item in self.items if item.kind == "trace"]
        return [
            ListedTrace(item.id, item.folder, row["prompt"], row["seed"])
            for item, row in rows
            if "error" not in row
        ]

    def _row(self, item: Item) -> dict[str, Any]:
        """Return one line of the index; what cannot be read says so."""
        row: dict[str, Any] = {"id": item.id, "label": item.label, "kind": item.kind}
        facts = _comparison_facts if item.kind == "comparison" else self._rows.row
        try:
            return row | facts(item.folder, tuple(_stamps(item.folder)))
        except TraceError as error:
            return row | {"error": str(error)}


def open_library(paths: Sequence[Path]) -> Library:
    """Look for traces and comparisons.

    Args:
        paths: traces, comparisons, or folders with such in them.

    Raises:
        TraceError: a path holds no trace, or cannot be read.
    """
    library = Library()
    for path in paths:
        _require_folder(path)
        listed = list(islice(_find(path, DEEPEST), MOST))
        if not listed:
            raise TraceError(
                f"{path} holds no trace; make one with attn capture --out {path / 'NAME'}"
            )
        is_folder = path.is_dir()
        for folder, kind in listed:
            is_inner = is_folder and folder != path
            label = folder.relative_to(path).as_posix() if is_inner else folder.name
            item = Item(str(len(library.items)), folder.absolute(), label or str(folder), kind)
            library.items.append(item)
    if 1 < len(paths) == len(library.items) <= BESIDE:
        library.beside = [item.id for item in library.items if item.kind == "trace"]
    return library


def _require_folder(path: Path) -> None:
    """Raise `TraceError` for what can neither be a trace nor a folder with traces in it."""
    with reported(path, "read"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, ValueError) as error:  # ValueError: a null character
            raise TraceError(
                f"{path} does not exist: name a trace or a folder with traces in it, or make one "
                f"with attn capture --out {path}"
            ) from error
    if not stat.S_ISDIR(mode) and path.name not in (MANIFEST, COMPARISON):
        raise TraceError(
            f"{path} is a file and no trace: name the folder of a trace, or one with traces in it"
        )


def file_of(item: Item, name: str) -> Path | None:
    """Return a file of a trace or comparison that its index lists; None for any other name.

    The name is only ever compared with those that the index has, and what it leads to must be a
    regular file in the same folder.
    """
    try:
        if name not in _files(item):
            return None
        root, path = item.folder.resolve(), (item.folder / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (TraceError, OSError, ValueError):  # gone; a name that is no name
        return None


def _files(item: Item) -> tuple[str, ...]:
    if item.kind == "comparison":
        return _comparison_files(item.folder, tuple(_stamps(item.folder)))
    manifest = manifest_of(item.folder)
    return (*(shard.file for shard in manifest.shards), *manifest.outputs)


@lru_cache(maxsize=KEPT)
def _comparison_files(folder: Path, stamps: tuple[tuple[int, int, int], ...]) -> tuple[str, ...]:
    del stamps  # only part of the key
    return read_comparison(folder).files


def picture_of(item: Item) -> Path | None:
    """Return the first picture of a trace, or that of a comparison; None where there is none."""
    if item.kind == "comparison":
        return file_of(item, SUMMARY)
    try:
        names = image_names(manifest_of(item.folder).outputs)
    except TraceError:  # gone
        return None
    return file_of(item, names[0]) if names else None


def facts_of(item: Item, library: Library) -> bytes:
    """Return what a page has to know of a trace or comparison, as JSON.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    if item.kind == "comparison":
        facts = describe_comparison(item.folder, library.members())
        return msgspec.json.encode({"label": item.label, **facts})
    return _trace_facts(item, tuple(_stamps(item.folder)))


@lru_cache(maxsize=KEPT)
def _trace_facts(item: Item, stamps: tuple[tuple[int, int, int], ...]) -> bytes:
    del stamps  # only part of the key
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
    for name in (MANIFEST, "attention/shards.jsonl", COMPARISON):
        try:
            about = os.stat(f"{folder}/{name}")  # noqa: PTH116 - of ten thousand traces
        except FileNotFoundError:
            continue
        except OSError:
            with reported(folder / name, "read"):
                raise
        yield about.st_mtime_ns, about.st_size, about.st_ino


@lru_cache(maxsize=MOST)
def _comparison_facts(folder: Path, stamps: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    """Return what the index says of a comparison."""
    index = read_comparison(folder)
    return {
        "status": "comparison",
        "prompt": f"{index.label}: {index.answer}" if index.answer else index.label,
        "picture": SUMMARY if SUMMARY in index.files else None,
        "written": max((stamp[0] for stamp in stamps), default=0) // 10**6,
    }


def _find(path: Path, depth: int) -> Iterator[tuple[Path, str]]:
    """Yield the folders of traces and comparisons, not those inside of them, and which it is."""
    if path.name in (MANIFEST, COMPARISON):
        path = path.parent
    for name, kind in ((MANIFEST, "trace"), (COMPARISON, "comparison")):
        if os.path.isfile(f"{path}/{name}"):  # noqa: PTH113 - of ten thousand traces
            yield path, kind
            return
    if not depth:
        return
    with reported(path, "read"), os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        if not name.startswith("."):
            yield from _find(path / name, depth - 1)
