"""Blocks of a layer, `<query part>.<key part>`: which there are, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from fnmatch import fnmatchcase

from attn.schema.layout import Column, Layer, Segment

RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")


def in_range(index: int, pattern: str) -> bool:
    """Whether a number is in `7` or `0-9`; nothing is in a pattern of another form."""
    span = RANGE.fullmatch(pattern)
    return span is not None and int(span[1]) <= index <= int(span[2] or span[1])


def layer_matches(layer: Layer, pattern: str) -> bool:
    """Whether a layer is meant by `7`, `0-11`, a glob of its path, or `tower:glob`."""
    if RANGE.fullmatch(pattern):
        return in_range(layer.index, pattern)
    return fnmatchcase(layer.path, pattern) or fnmatchcase(f"{layer.tower}:{layer.path}", pattern)


def part(segments: Seq[Segment], name: str) -> tuple[Segment, ...]:
    """Return the segments that one half of a block's name stands for; empty if there are none."""
    if name == "all":
        return tuple(segments)
    if name in ("text", "image"):
        return tuple(segment for segment in segments if segment.kind == name)
    return tuple(segment for segment in segments if segment.name == name)


def positions(segments: Seq[Segment]) -> list[int]:
    """Return the positions of segments, in sequence order."""
    return [position for segment in segments for position in range(segment.start, segment.stop)]


def block_names(layer: Layer) -> tuple[str, ...]:
    """Return every block that can be asked of a layer, the widest names first."""

    def names(segments: Seq[Segment]) -> list[str]:
        kinds = [kind for kind in ("image", "text") if part(segments, kind)]
        return list(dict.fromkeys([*kinds, *(segment.name for segment in segments), "all"]))

    return tuple(f"{query}.{key}" for query in names(layer.queries) for key in names(layer.keys))


def block_columns(layer: Layer, block: str, columns: Seq[Column]) -> tuple[Column, ...]:
    """Return the key columns that a map of `block` has, in the order of the layer's keys.

    Text segments contribute their entries of `columns`, other segments every position.
    """
    selected: list[Column] = []
    for segment in part(layer.keys, block.split(".")[1]):
        if segment.kind == "text":
            selected += [column for column in columns if column.segment == segment.name]
        else:
            selected += [
                Column(segment.name, index) for index in range(segment.start, segment.stop)
            ]
    return tuple(selected)


def query_parts(blocks: Iterable[str]) -> tuple[str, ...]:
    """Return the query parts of blocks, once each."""
    return tuple(dict.fromkeys(block.split(".")[0] for block in blocks))


def without_mass(layer: Layer, query: str, blocks: Iterable[str]) -> tuple[Segment, ...]:
    """Return the key segments of a layer that no block of a query part has among its keys."""
    halves = (block.split(".") for block in blocks)
    having = {segment for rows, key in halves if rows == query for segment in part(layer.keys, key)}
    return tuple(segment for segment in layer.keys if segment not in having)
