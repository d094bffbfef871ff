"""Which positions a step of a growing text has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attn.schema import Layer, Manifest, Segment, Shard

Window = tuple[int, int]
"""First place and end of what a step has of an axis."""


def is_of_growing(shards: Iterable[Shard]) -> bool:
    """Whether steps read different spans of a text."""
    return any(shard.step is not None and shard.step.span is not None for shard in shards)


def spans_of(manifest: Manifest) -> dict[str, Window]:
    """Return where the segments of the sequence are in it, by name."""
    segments = manifest.segments[manifest.branches[0]]
    return {segment.name: (segment.start, segment.stop) for segment in segments}


def find_window(
    segments: Sequence[Segment], places: Mapping[str, Window], span: Window | None
) -> Window:
    """Return which positions of segments put one after the other lie in a span of the sequence.

    Args:
        segments: of a layer.
        places: where segments of the sequence are in it; others do not grow.
        span: of the sequence; None is all of it.
    """
    offset, edges = 0, []
    for segment in segments:
        start, stop = 0, segment.length
        if span is not None and segment.name in places:
            begin = places[segment.name][0]
            start, stop = max(start, span[0] - begin), min(stop, span[1] - begin)
        if start < stop:
            edges += [offset + start, offset + stop]
        offset += segment.length
    return (min(edges), max(edges)) if edges else (0, 0)


def step_windows(layer: Layer, manifest: Manifest, span: Window) -> tuple[Window, Window]:
    """Return which queries and keys of a layer a step of some span has."""
    places = spans_of(manifest)
    return find_window(layer.queries, places, span), find_window(layer.keys, places, (0, span[1]))
