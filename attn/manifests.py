"""Whether a manifest that was read makes sense, before anything relies on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from attn.schema import Layer, Manifest, Segment

NAME = re.compile(r"\w[\w-]{0,63}")
"""What a segment may be called: its name becomes a folder of results."""

LONGEST = 2**26
"""Longest believable sequence, in positions."""


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield what cannot be true of any trace, in words; nothing if all is well."""
    if manifest.schema < 1 or manifest.samples < 1:
        yield f"schema {manifest.schema} and samples {manifest.samples} must be at least 1"
    if not manifest.branches or _repeats(manifest.branches):
        yield f"branches must be some, each once; got {list(manifest.branches)}"
    for branch in manifest.branches:
        if branch not in manifest.segments or branch not in manifest.tokens:
            yield f"branch {branch!r} has no segments or no tokens"
        yield from segment_problems(f"branch {branch!r}", manifest.segments.get(branch, ()))
    if _repeats(layer.index for layer in manifest.layers):
        yield "two layers have one index"
    for layer in manifest.layers:
        yield from layer_problems(layer)
    indices = [step.index for step in manifest.steps]
    if indices != sorted(set(indices)) or min(indices, default=0) < 0:
        yield f"steps must count upwards from 0; got {indices[:8]}"
    if _repeats(shard.file for shard in manifest.shards):
        yield "one shard is listed twice"
    yield from _column_problems(manifest)


def layer_problems(layer: Layer) -> Iterator[str]:
    """Yield what cannot be true of any layer, in words."""
    if layer.num_heads < 1 or layer.index < 0 or not layer.queries or not layer.keys:
        yield f"layer {layer.index} needs an index from 0, heads, queries and keys"
    yield from segment_problems(f"queries of layer {layer.index}", layer.queries)
    yield from segment_problems(f"keys of layer {layer.index}", layer.keys)


def segment_problems(where: str, segments: Sequence[Segment]) -> Iterator[str]:
    """Yield what cannot be true of the segments of any sequence, in words."""
    if _repeats(segment.name for segment in segments):
        yield f"{where}: two segments have one name"
    end = 0
    for segment in segments:
        if NAME.fullmatch(segment.name) is None:
            yield f"{where}: a segment cannot be called {segment.name[:40]!r}"
        if not end <= segment.start < segment.stop <= LONGEST:
            yield (
                f"{where}: segment {segment.name[:40]!r} is {segment.start} to {segment.stop}, "
                f"expected some positions from {end} on"
            )
        rows, columns = segment.grid or (1, segment.length)
        if min(rows, columns) < 1 or rows * columns != segment.length:
            yield f"{where}: grid {rows}x{columns} does not hold {segment.length} positions"
        end = segment.stop


def _column_problems(manifest: Manifest) -> Iterator[str]:
    spans = {
        segment.name: segment
        for branch in manifest.branches[:1]
        for segment in manifest.segments.get(branch, ())
    }
    for column in manifest.kept.columns:
        span = spans.get(column.segment)
        if span is None:
            yield f"a column belongs to segment {column.segment[:40]!r}, which does not exist"
        elif column.position is not None and not span.start <= column.position < span.stop:
            yield f"column {column.position} lies outside segment {span.name!r}"


def _repeats(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) < len(listed)
