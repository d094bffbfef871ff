"""A folder of results: built aside, swapped in whole, with an index of what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attn.disk import reported
from attn.errors import AnalysisError

INDEX = "analysis.json"
SCHEMA = 1
"""Version of `analysis.json`."""


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` if the block succeeds.

    If it fails, what was in `folder` stays as it was.

    Raises:
        AnalysisError: `folder` holds something else than results.
        TraceError: the disk is full, permission is missing, ….
    """
    _refuse_foreign(folder, folder.resolve())
    with swapped(folder) as built:
        yield built


@contextmanager
def swapped(folder: Path) -> Iterator[Path]:
    """Do as `replaced`, whatever `folder` holds.

    Raises:
        TraceError: the disk is full, permission is missing, ….
    """
    target = folder.resolve()
    hint = "Choose another folder with --out."
    with reported(folder, hint=hint):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    with scratch as place, reported(folder, hint=hint):
        built, old = Path(place, "new"), Path(place, "old")
        built.mkdir()
        yield built
        if target.exists():
            target.rename(old)
        try:
            built.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def write_index(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `analysis.json`."""
    text = json.dumps({"schema": SCHEMA, **facts}, indent=1, ensure_ascii=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _refuse_foreign(folder: Path, target: Path) -> None:
    """Refuse to replace what this program did not write."""
    if not target.exists() or (target / INDEX).is_file():
        return
    if not target.is_dir() or any(target.iterdir()):
        what = (
            f"has no {INDEX}, so it is not a folder of results" if target.is_dir() else "is a file"
        )
        raise AnalysisError(f"{folder} {what}: it is not replaced; choose another with --out")
