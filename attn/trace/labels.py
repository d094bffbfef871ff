"""The coordinates and attributes of a trace's labelled arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from attn.schema import Column, Layer, Manifest, Shard, Token

_BLOCK = re.compile(r"\d{1,6}")
"""The number of a block, a part of a path."""
_UNITS = {"entropy": "nats", "lse": "nats"} | dict.fromkeys(
    ("query", "key", "scale", "mask", "gate", "value_norm", "concept_key"), "1"
)


def key_labels(
    manifest: Manifest, columns: Sequence[Column], branches: Sequence[str]
) -> dict[str, tuple[str | tuple[str, str], np.ndarray]]:
    """Return the coordinates of an axis `key`.

    Args:
        manifest: knows the tokens.
        columns: what the axis stands for.
        branches: guidance rows of the array.

    Returns:
        `position` (-1 for a column of the rest), `segment`, `token` (its text, `rest`, or nothing
        for an image), `word` (its index, -1 for none). The last two are by (branch, key) where the
        guidance rows read different tokens.
    """
    positions = [-1 if column.position is None else column.position for column in columns]
    read = [_read(manifest, branch, columns) for branch in branches]
    texts, words = zip(*read, strict=True)
    return {
        "position": ("key", np.array(positions, np.int64)),
        "segment": ("key", np.array([column.segment for column in columns], object)),
        "token": _by_branch(np.array(texts, object)),
        "word": _by_branch(np.array(words, np.int64)),
    }


def _read(
    manifest: Manifest, branch: str, columns: Sequence[Column]
) -> tuple[list[str], list[int]]:
    """Return text and word of every column, as one guidance row reads them."""
    read = manifest.tokens.get(branch, ())
    tokens: dict[tuple[str, int | None], Token] = {
        (token.segment, token.position): token for token in read
    }
    matches = [tokens.get((column.segment, column.position)) for column in columns]
    texts = [
        "rest" if column.position is None else token.text if token else ""
        for column, token in zip(columns, matches, strict=True)
    ]
    return texts, [-1 if token is None or token.word is None else token.word for token in matches]


def _by_branch(labels: np.ndarray) -> tuple[str | tuple[str, str], np.ndarray]:
    """Label (branch, key), or only (key) where all branches agree."""
    if (labels == labels[:1]).all():
        return "key", labels[0]
    return ("branch", "key"), labels


def step_labels(shards: Iterable[Shard]) -> dict[str, tuple[str, list[int] | list[float]]]:
    """Return the coordinates of an axis `step`; what the scheduler does not say is NaN."""
    steps = [shard.step for shard in shards if shard.step is not None]

    def column(values: Iterable[float | None]) -> tuple[str, list[float]]:
        return "step", [np.nan if value is None else value for value in values]

    return {
        "step": ("step", [step.index for step in steps]),
        "timestep": column(step.timestep for step in steps),
        "noise": column(step.noise for step in steps),
    }


def block_numbers(layers: Sequence[Layer]) -> dict[int, int] | None:
    """Return the number of the model's block that each layer is in, by the layer's index.

    It is the only number in the layer's path, as in `transformer_blocks.7.attn`. None where paths
    have none or several, as those of UNets do, or where two of the layers are in one block.
    """
    numbers = [
        [part for part in layer.path.split(".") if _BLOCK.fullmatch(part)] for layer in layers
    ]
    blocks = {
        layer.index: int(parsed[0]) for layer, parsed in zip(layers, numbers, strict=True) if parsed
    }
    is_clear = all(len(parsed) == 1 for parsed in numbers) and len({*blocks.values()}) == len(
        layers
    )
    return blocks if is_clear else None


def attributes(name: str, layer: Layer, block: str | None) -> dict[str, Any]:
    """Return the attributes of an array: its measure, units and origin."""
    return {
        "measure": name,
        "units": _UNITS.get(name, "probability"),
        "block": block or "",
        "layer": layer.index,
        "tower": layer.tower,
        "path": layer.path,
    }
