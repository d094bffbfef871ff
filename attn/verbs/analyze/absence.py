"""Words and phrases that are asked of a collection, and that not every prompt of it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from attn.analysis.words.selection import Scope, without_absent
from attn.errors import AnalysisError, AttnError
from attn.files.names import COLLECTION
from attn.schema import Manifest
from attn.trace.remote import TraceSource
from attn.trace.store import read_manifest
from attn.verbs.capture.collection import Entry


def fit(manifest: Manifest, options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Leave out the words and phrases that the prompt of one trace lacks.

    Args:
        manifest: of the trace.
        options: of every analysis, by its name.

    Returns:
        The options without these, and without the analyses that would have no word left to look
        at; and the words and phrases.
    """
    fitted: dict[str, Any] = {}
    absent: list[str] = []
    for name, requested in options.items():
        left = requested
        if isinstance(requested, Scope):
            left, lacking = without_absent(manifest, requested)
            absent += lacking
        if left is not None:
            fitted[name] = left
    return fitted, tuple(dict.fromkeys(absent))


def refuse_absent(
    source: TraceSource, entries: Sequence[Entry], options: Mapping[str, Any]
) -> None:
    """Refuse words and phrases that no prompt of a collection has, before anything is analysed.

    Raises:
        AnalysisError: names the first.
    """
    absent: set[str] | None = None
    for entry in entries:
        with suppress(AttnError):  # what is wrong with a trace is said when it is analysed
            folder = source.bring(entry.folder, shards=False)
            lacking = set(fit(read_manifest(folder), options)[1])
            absent = lacking if absent is None else absent & lacking
        if absent == set():
            return
    if absent:
        raise AnalysisError(
            f"no prompt of {source.name} has '{min(absent)}': name what is in one of them; "
            f"{source.folder / COLLECTION} lists them"
        )
