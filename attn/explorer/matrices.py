"""Whole matrices of attention in a trace: what their rows and columns stand for.

Layers whose matrices have the same rows and columns have a common mean, and are described together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attn.schema import (
    Column,
    Layer,
    Manifest,
    block_columns,
    block_names,
    part,
    positions,
)
from attn.trace.measures.axes import all_columns, all_rows, query_grid
from attn.trace.shapes import step_windows

BLOCK = "image.text"
"""The block that pictures are shown with, word by word."""


def describe_matrices(manifest: Manifest) -> list[dict[str, Any]]:
    """Return every kind of matrix that was kept, blocks in the order in which they were asked for.

    Returns:
        For each: `name`; `block` and `tower`; `layers`; `segments`, names; `rows` and `columns`,
        the (segment, position) of each, position None for the rest of a segment; `queries` and
        `keys`, the places of each row and column in the layer's own sequences; `windows`, of each
        step [first query, end, first key, end] where steps read different parts of a text;
        `masses`, the query parts of which masses of the same keys were kept; `grid`, rows and
        columns of the queries that are an image, None of a video's.
    """
    groups: dict[tuple[Any, ...], list[Layer]] = {}
    for block in manifest.kept.blocks:
        for layer in manifest.layers:
            if layer.index in manifest.kept.layers and _is_kept(manifest, layer, block):
                key = (
                    block,
                    layer.tower,
                    all_rows(manifest, layer, block),
                    _columns(manifest, layer, block),
                )
                groups.setdefault(key, []).append(layer)
    described = []
    for (block, tower, rows, columns), layers in groups.items():
        kind = _describe(manifest, block, layers)
        described.append({"tower": tower, "block": block, **kind, **_axes(rows, columns)})
    return _named(described)


def _is_kept(manifest: Manifest, layer: Layer, block: str) -> bool:
    """Whether a layer has a block, other than that of words over a picture."""
    is_of_picture = block == BLOCK and query_grid(layer, BLOCK) is not None
    return block in block_names(layer) and block in layer.blocks and not is_of_picture


def _columns(manifest: Manifest, layer: Layer, block: str) -> tuple[Column, ...]:
    if any(step.span is not None for step in manifest.steps):  # a growing text keeps every key
        return all_columns(manifest, layer, block)
    return block_columns(layer, block, manifest.kept.columns)


def _describe(manifest: Manifest, block: str, layers: Sequence[Layer]) -> dict[str, Any]:
    layer = layers[0]
    query, _, key = block.partition(".")
    parts = [
        half for half, _, other in (name.partition(".") for name in layer.blocks) if other == key
    ]
    return {
        "layers": [_layer(each) for each in layers],
        "queries": positions(part(layer.queries, query)),
        "keys": _key_places(manifest, layer, block),
        "windows": [
            None if step.span is None else [*sum(step_windows(layer, manifest, step.span), ())]
            for step in manifest.steps
        ],
        "masses": list(dict.fromkeys([query, *parts])),
        "grid": None if layer.frames else query_grid(layer, block),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "index": layer.index,
        "tower": layer.tower,
        "path": layer.path,
        "heads": layer.num_heads,
        "gates": [gate.part for gate in layer.gates],
    }


def _key_places(manifest: Manifest, layer: Layer, block: str) -> list[list[int]]:
    """Return which of the layer's keys each column is the sum of."""
    every = all_columns(manifest, layer, block)
    places = dict(zip(every, positions(part(layer.keys, block.partition(".")[2])), strict=True))
    columns = _columns(manifest, layer, block)
    single = {*columns}
    rest: dict[str, list[int]] = {}
    for column, place in places.items():
        if column not in single:
            rest.setdefault(column.segment, []).append(place)
    return [
        rest.get(column.segment, []) if column.position is None else [places[column]]
        for column in columns
    ]


def _axes(rows: Sequence[Column], columns: Sequence[Column]) -> dict[str, Any]:
    names = list(dict.fromkeys(column.segment for column in (*rows, *columns)))
    return {
        "segments": names,
        "rows": [[names.index(row.segment), row.position] for row in rows],
        "columns": [[names.index(column.segment), column.position] for column in columns],
    }


def _named(described: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name each kind by what tells it from the others: its tower, its block, its number."""
    towers = {kind["tower"] for kind in described}
    blocks = {kind["block"] for kind in described}
    for number, kind in enumerate(described, 1):
        telling = [kind["tower"]] if len(towers) > 1 or len(blocks) == 1 else []
        telling += [kind["block"]] if len(blocks) > 1 else []
        kind["name"] = " ".join(telling)
        if sum(other.get("name") == kind["name"] for other in described) > 1:
            kind["name"] += f" ({number})"
    return described
