"""Plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

FEW = 2
"""Up to so many pictures of one folder are named, more are counted."""


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def listed_files(names: Sequence[str]) -> Iterator[str]:
    """Yield files; of a folder with many pictures only how many."""
    folders: dict[Path, list[Path]] = {}
    files = [Path(name) for name in names]
    for file in files:
        if file.suffix == ".png":
            folders.setdefault(file.parent, []).append(file)
    for file in files:
        group = folders.get(file.parent, [])
        if file not in group or len(group) <= FEW or file.parent == Path():
            yield file.as_posix()
        elif file == group[0]:
            yield f"{file.parent.as_posix()}/  {len(group)} pictures"
