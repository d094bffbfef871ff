"""Earlier results that stay beside new ones: those of analyses that did not run again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from attn.analysis.registry import ANALYSES
from attn.errors import TraceError
from attn.files.markers import ours
from attn.files.outside import read_bytes, read_json
from attn.trace.store import MANIFEST
from attn.verbs.capture.folders import ANALYSIS_INDEX as INDEX

PAGE = "summary"
"""Stands among the analyses of a collection for its page."""
KEPT = (*(analysis.name for analysis in ANALYSES), PAGE)


@dataclass(frozen=True)
class _AnalysisIndex:
    """What is read of `analysis.json`, of a trace or of a collection."""

    manifests: list[str]
    analyses: list[dict[str, Any]]


def trace_digest(folder: Path) -> str:
    """Return the SHA-256 of a trace's manifest, which no other trace has.

    Raises:
        TraceError: it cannot be read.
    """
    return sha256(read_bytes(folder / MANIFEST)).hexdigest()


def keep_earlier(
    folder: Path, built: Path, manifests: Sequence[str], names: Collection[str]
) -> list[dict[str, Any]]:
    """Put earlier results of other analyses into new ones, if they are of the same trace.

    Files that were changed since are not ours: they stay as those of others do.

    Args:
        folder: with earlier results, if any.
        built: the new results.
        manifests: digests of the traces of the new results.
        names: analyses that ran.

    Returns:
        What the earlier `analysis.json` says of the analyses that are kept.
    """
    try:
        index = read_json(folder / INDEX, _AnalysisIndex)
    except TraceError:
        return []
    if not manifests or index.manifests != list(manifests):
        return []
    mine = ours(folder)
    kept = []
    for analysis in index.analyses:
        files = _files(analysis)
        if files and analysis.get("name") in {*KEPT} - {*names}:
            there = [file for file in files if file in mine and _link(folder, built, file)]
            kept.append({**analysis, "files": there})
    return kept


def _files(analysis: dict[str, Any]) -> Sequence[str]:
    files = analysis.get("files")
    is_list = isinstance(files, list) and all(isinstance(file, str) for file in files)
    return files if isinstance(files, list) and is_list else ()


def _link(folder: Path, built: Path, file: str) -> bool:
    """Let new results have an earlier file, unless they have one of that name; a copy elsewhere."""
    source, copy = folder / file, built / file
    copy.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(copy):
        return False
    with suppress(OSError):
        os.link(source, copy)
        return True
    shutil.copy2(source, copy)
    return True
