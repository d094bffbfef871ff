"""What a page may read of what was opened: facts, and the files that an index lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import msgspec

from attn.errors import TraceError
from attn.explorer.comparisons import SUMMARY, describe_comparison, read_comparison
from attn.explorer.description import describe
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.files.disk import resolved
from attn.files.results import COMPARISON
from attn.files.stamps import Stamp, stamp_of
from attn.schema import Manifest, image_names
from attn.trace.store import JOURNAL, MANIFEST, load_manifest

KEPT = 16
"""Manifests that are kept in memory."""


def file_of(item: Item, name: str) -> Path | None:
    """Return a file of a trace or comparison that its index lists; None for any other name.

    The name is only ever compared with those that the index has, and what it leads to must be a
    regular file in the same folder.
    """
    try:
        if name not in _files(item):
            return None
        root, path = resolved(item.folder), resolved(item.folder / name)
        return path if path.is_relative_to(root) and path.is_file() else None
    except (TraceError, OSError, ValueError):  # gone; a name that is no name
        return None


def _files(item: Item) -> tuple[str, ...]:
    if item.kind == "comparison":
        return _comparison_files(item.folder, tuple(_stamps(item.folder)))
    manifest = manifest_of(item.folder)
    return (*(shard.file for shard in manifest.shards), *manifest.outputs)


@lru_cache(maxsize=KEPT)
def _comparison_files(folder: Path, stamps: tuple[Stamp, ...]) -> tuple[str, ...]:
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


def facts_of(item: Item, library: Library, reword: Callable[[str], str] = str) -> bytes:
    """Return what a page has to know of a trace or comparison, as JSON.

    Args:
        item: the trace or comparison.
        library: what else was opened.
        reword: changes the remarks that are stored.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    if item.kind == "comparison":
        facts = describe_comparison(item.folder, library.members())
        told = {"label": item.label, "warnings": list(map(reword, facts["warnings"]))}
        return msgspec.json.encode(facts | told)
    return _trace_facts(item, reword, tuple(_stamps(item.folder)))


@lru_cache(maxsize=KEPT)
def _trace_facts(item: Item, reword: Callable[[str], str], stamps: tuple[Stamp, ...]) -> bytes:
    del stamps  # only part of the key
    manifest = manifest_of(item.folder)
    told = replace(manifest, warnings=tuple(map(reword, manifest.warnings)))
    return msgspec.json.encode({"label": item.label, **describe(told)})


def version_of(item: Item) -> str:
    """Return what changes when the index of a trace or comparison is written again.

    Raises:
        TraceError: it is not there any more.
    """
    stamps = [*_stamps(item.folder)]
    if not stamps:
        raise TraceError(f"{item.folder} is not there any more")
    return "-".join(str(number) for stamp in stamps for number in stamp)


def manifest_of(folder: Path) -> Manifest:
    """Return the manifest of a trace as it is now; it is read again only when it has changed.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    return _load(folder, tuple(_stamps(folder)))


@lru_cache(maxsize=KEPT)
def _load(folder: Path, stamps: tuple[Stamp, ...]) -> Manifest:
    del stamps  # only part of the key
    return load_manifest(folder)


def _stamps(folder: Path) -> Iterator[Stamp]:
    """Yield what changes when a manifest or its journal does."""
    for name in (MANIFEST, JOURNAL, COMPARISON):
        if stamp := stamp_of(f"{folder}/{name}"):
            yield stamp
