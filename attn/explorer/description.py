"""What a page has to know of a trace: all that follows from rules that stand in Python.

A page adds up columns of maps and keys of masses; which of them are a word, on which branch, is
said here, by the rules of `Trace.word_maps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from attn.explorer.matrices import BLOCK, describe_matrices
from attn.schema import (
    SKETCH,
    Column,
    Layer,
    Manifest,
    Token,
    block_columns,
    block_names,
    image_names,
    video_names,
)
from attn.trace.frames import frame_spans
from attn.trace.measures.axes import all_columns, query_grid
from attn.trace.words.prompts import Prompt, read_prompt


def describe(manifest: Manifest) -> dict[str, Any]:
    """Return the facts of a trace, as plain data.

    Returns:
        `manifest` as in `trace.json`, of a partial trace with what is finished; `screen`;
        `pictures` and `sketch`, names of files; `video`, of a video `files` and the `spans` of
        frames that each frame of its latents stands for, else None; `branches` with their text and
        words; `layers` whose maps lie on a grid; `cuts`, what was done to the attention; `keysets`,
        what the keys of these layers stand for: the keys that each column of a map is the sum of,
        and per branch groups of `columns` of maps and `keys` of masses; and `matrices`, see
        `attn.explorer.matrices`.
    """
    shown = picture_layers(manifest)
    keysets: dict[tuple[Column, ...], list[Layer]] = {}
    for layer in shown:
        keysets.setdefault(all_columns(manifest, layer, BLOCK), []).append(layer)
    prompts = {branch: read_prompt(manifest, branch) for branch in manifest.branches}
    number = {layer.index: at for at, layers in enumerate(keysets.values()) for layer in layers}
    return {
        "manifest": msgspec.to_builtins(manifest),
        "screen": screen_of(manifest),
        "pictures": image_names(manifest.outputs),
        "video": _video(manifest, shown),
        "sketch": SKETCH if SKETCH in manifest.outputs else None,
        "branches": [_branch(manifest, name, prompt) for name, prompt in prompts.items()],
        "layers": [_layer(layer, number[layer.index]) for layer in shown],
        "cuts": [cut.text for cut in manifest.request.interventions],
        "keysets": [_keyset(manifest, layers[0], prompts) for layers in keysets.values()],
        "matrices": describe_matrices(manifest),
    }


def _video(manifest: Manifest, layers: Sequence[Layer]) -> dict[str, Any] | None:
    """Return the files of videos, and which frames of them frames of latents stand for."""
    tokens = max((layer.frames for layer in layers), default=0)
    if tokens <= 1:
        return None
    spans = frame_spans(manifest.request.frames or tokens, tokens)
    return {"files": video_names(manifest.outputs), "spans": spans}


def picture_layers(manifest: Manifest) -> list[Layer]:
    """Return the kept layers in which places of a picture read text."""
    return [
        layer
        for layer in manifest.layers
        if layer.index in manifest.kept.layers
        and BLOCK in block_names(layer)
        and query_grid(layer, BLOCK)
    ]


def screen_of(manifest: Manifest) -> str:
    """Return which screen shows a trace: `picture` or `text`."""
    return "picture" if picture_layers(manifest) else "text"


def _branch(manifest: Manifest, name: str, prompt: Prompt) -> dict[str, Any]:
    return {
        "name": name,
        "text": manifest.request.prompt_of(name),
        "words": [
            {"index": word.index, "label": word.label, "start": word.start, "stop": word.stop}
            for word in prompt.words
        ],
        "truncated": manifest.truncated.get(name, {}),
    }


def _layer(layer: Layer, keyset: int) -> dict[str, Any]:
    return {
        "index": layer.index,
        "tower": layer.tower,
        "path": layer.path,
        "kind": layer.kind,
        "heads": layer.num_heads,
        "grid": query_grid(layer, BLOCK),
        "frames": layer.frames,
        "keyset": keyset,
        "num_keys": layer.num_keys,
        "gates": [gate.part for gate in layer.gates],
    }


def _keyset(manifest: Manifest, layer: Layer, prompts: dict[str, Prompt]) -> dict[str, Any]:
    columns = block_columns(layer, BLOCK, manifest.kept.columns)
    keys = all_columns(manifest, layer, BLOCK)
    groups = {name: _groups(prompt, columns, keys) for name, prompt in prompts.items()}
    return {
        "columns": _addends(columns, keys),
        "keys": len(keys),
        "segments": list(dict.fromkeys(column.segment for column in keys)),
        "groups": groups,
    }


def _addends(columns: tuple[Column, ...], keys: tuple[Column, ...]) -> list[list[int]]:
    """Return which keys each column of a map is the sum of."""
    listed = {*columns}
    indices = {key: [at] for at, key in enumerate(keys)}
    for at, key in enumerate(keys):
        if key not in listed:
            indices.setdefault(Column(key.segment, None), []).append(at)
    return [indices.get(column, []) for column in columns]


def _groups(
    prompt: Prompt, columns: tuple[Column, ...], keys: tuple[Column, ...]
) -> list[dict[str, Any]]:
    """Return what the keys of a layer are: words, other tokens, and the rest of each segment."""
    of_column = {column: at for at, column in enumerate(columns)}
    of_key = {column: at for at, column in enumerate(keys)}
    labels = {word.index: word.label for word in prompt.words}

    def group(kind: str, segment: str, text: str, members: Iterable[Column]) -> dict[str, Any]:
        listed = list(members)
        return {
            "kind": kind,
            "segment": segment,
            "text": text,
            "columns": [of_column[column] for column in listed if column in of_column],
            "keys": [of_key[column] for column in listed if column in of_key],
        }

    groups = []
    for segment in dict.fromkeys(column.segment for column in keys):
        for index, label in labels.items():
            positions = [Column(*position) for position in prompt.positions({index}, segment)]
            if positions:
                groups.append(group("word", segment, label, positions) | {"word": index})
        others = [
            token for token in prompt.tokens if token.segment == segment and token.word is None
        ]
        padding = [Column(segment, token.position) for token in others if token.padding]
        for token in others:
            if not token.padding:
                at = Column(segment, token.position)
                groups.append(group(_kind(token), segment, token.text, [at]))
        if padding:
            groups.append(group("padding", segment, "padding", padding))
        rest = Column(segment, None)
        if rest in of_column:
            rest_keys = [key for key in keys if key.segment == segment and key not in of_column]
            groups.append(group("rest", segment, "rest", [rest, *rest_keys]))
    return groups


def _kind(token: Token) -> str:
    return "special" if token.special else "token"
