"""All that was opened, piece by piece as somebody asks for more of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import msgspec

from attn.errors import TraceError
from attn.explorer.comparisons import SUMMARY, ListedTrace, read_comparison
from attn.explorer.listing.items import MOST, IndexEntry, Item, ReadIndex, find_items
from attn.explorer.listing.rows import Rows
from attn.files.disk import reported
from attn.files.results import COMPARISON

Bring = Callable[[Path, bool], object]
"""Has the files in the folder of a trace there, with or without its shards."""
BESIDE = 4
"""As many traces at most are shown side by side."""


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


class Library:
    """What was opened; folders are looked through while somebody asks for more."""

    def __init__(
        self,
        items: Iterator[Item],
        read_index: ReadIndex = lambda _: (),
        paths: int = 1,
        bring: Bring | None = None,
    ) -> None:
        """List what is found.

        Args:
            items: numbered in their order.
            read_index: of the folders that they lie in.
            paths: from how many that were named they come.
            bring: has the files of a trace there that is elsewhere.
        """
        self._more, self._read_index, self._paths = items, read_index, paths
        self._bring = bring
        self._listed: list[Item] = []
        self._shared: dict[str, dict[str, Any]] = {}
        self._rows = Rows()
        self._lock = Lock()

    @property
    def items(self) -> list[Item]:
        """All of them, in the order in which they are listed; the rest is looked for now."""
        self._at(self._paths * MOST)
        return self._listed

    @property
    def failures(self) -> list[FailedTrace]:
        """What could not be made, listed behind all others."""
        folders = [Path(name) for name in dict.fromkeys(map(_collection, self.items))]
        return [
            FailedTrace(
                f"{folder.name}/{entry.folder}",
                entry.prompt,
                entry.seed,
                entry.error or "no reason was kept",
            )
            for folder in folders
            for entry in self._read_index(folder)
            if entry.status == "failed"
        ]

    @property
    def beside(self) -> list[str]:
        """The ids of those that were named one by one, to be shown side by side."""
        is_few = 1 < self._paths == len(self.items) <= BESIDE
        return [item.id for item in self.items if item.kind == "trace"] if is_few else []

    def item(self, number: str) -> Item | None:
        """Return the item of an address, or None."""
        most = len(str(self._paths * MOST))
        is_number = number.isascii() and number.isdecimal() and len(number) <= most
        return self._at(int(number)) if is_number else None

    def brought(self, item: Item, *, shards: bool = True) -> Item:
        """Return an item whose files are here; those of a trace that is elsewhere are copied.

        Args:
            item: that is looked at.
            shards: its attention too.

        Raises:
            TraceError: they cannot be copied.
        """
        if self._bring is not None:
            self._bring(item.folder, shards)
        return item

    def add(self, folder: Path) -> Item:
        """Return the item of a trace that is made meanwhile, listed behind the others."""
        path = str(folder.absolute())
        listed = self.items
        with self._lock:
            item = next((item for item in listed if item.path == path), None)
            if item is None:
                item = Item(str(len(listed)), path, folder.name)
                listed.append(item)
        return item

    def index(self, start: int = 0, seconds: float = inf) -> bytes:
        """Return a piece of the list, as JSON.

        Args:
            start: number of the first that is told.
            seconds: after which the piece ends, if there is more.

        Returns:
            `items`, one at least if there is one; `next`, the number of the first that was not
            told, None at the end; and there `failures`, `beside`, and `unchecked`, how many
            manifests were not yet held against their digests.
        """
        until = monotonic() + seconds
        rows: list[dict[str, Any]] = []
        while item := self._at(start + len(rows)):
            rows.append(self._row(item))
            if monotonic() > until:
                return msgspec.json.encode({"items": rows, "next": start + len(rows)})
        unchecked = sum(not self._rows.is_checked(item.path) for item in self._listed)
        end = {"next": None, "failures": self.failures, "beside": self.beside}
        return msgspec.json.encode({"items": rows, **end, "unchecked": unchecked})

    def check(self) -> Iterator[None]:
        """Hold each manifest that is listed against its digest, one at a time, and keep the list.

        What is damaged is then listed with what is wrong.
        """
        for item in self._listed:
            if item.kind == "trace":
                self._rows.check(item.path)
                yield
        self._rows.keep()

    def members(self) -> list[ListedTrace]:
        """Return all traces that can be read."""
        rows = [(item, self._row(item)) for item in self.items if item.kind == "trace"]
        return [
            ListedTrace(item.id, item.folder, row["prompt"], row["seed"])
            for item, row in rows
            if "error" not in row
        ]

    def _at(self, number: int) -> Item | None:
        """Return an item; look for it if it was not come across yet."""
        with self._lock:
            while number >= len(self._listed):
                item = next(self._more, None)
                if item is None:
                    return None
                self._listed.append(item)
        return self._listed[number]

    def _row(self, item: Item) -> dict[str, Any]:
        """Return one line of the index; what cannot be read says so."""
        row: dict[str, Any] = {"id": item.id, "label": item.label, "kind": item.kind}
        try:
            if item.kind == "comparison":
                return row | _comparison_facts(item.path)
            if item.entry is not None:
                return row | self._believed_facts(item, item.entry)
            return row | self._rows.facts(item.path)
        except TraceError as error:
            return row | {"error": str(error)}

    def _believed_facts(self, item: Item, entry: IndexEntry) -> dict[str, Any]:
        """Return what the list says of a trace that its index tells of.

        All but prompt and seed is what the first trace of the collection says of itself.
        """
        folder = _collection(item)
        shared = self._shared.get(folder)
        if shared is None:
            facts = self._rows.facts(self.brought(item, shards=False).path)
            if facts["status"] == "complete":
                self._shared[folder] = facts
            return facts
        return shared | {"prompt": entry.prompt, "seed": entry.seed}


def open_library(
    paths: Sequence[Path],
    read_index: ReadIndex = lambda _: (),
    *,
    far: Collection[Path] = (),
    bring: Bring | None = None,
) -> Library:
    """Look for traces and comparisons.

    Args:
        paths: traces, comparisons, or folders with such in them.
        read_index: of a collection.
        far: those of the paths that are collections of which only the index is here.
        bring: has the files of a trace there that is elsewhere.

    Raises:
        TraceError: a path holds no trace, or cannot be read.
    """
    return Library(find_items(paths, read_index, far), read_index, len(paths), bring)


def _collection(item: Item) -> str:
    """Return the folder that an item lies in."""
    return item.path.rpartition(os.sep)[0]


def _comparison_facts(folder: str) -> dict[str, Any]:
    """Return what the index says of a comparison."""
    index, path = read_comparison(Path(folder)), Path(folder, COMPARISON)
    with reported(path, "read"):
        written = path.stat().st_mtime_ns
    return {
        "status": "comparison",
        "prompt": f"{index.label}: {index.answer}" if index.answer else index.label,
        "picture": SUMMARY if SUMMARY in index.files else None,
        "written": written // 10**6,
    }
