"""The check that positions said to be text are those that the model reads text at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attn.backends.testing.observe import begin, fail, watched
from attn.backends.testing.oracle import as_float64
from attn.backends.types import Session
from attn.engine.attention import Attention
from attn.schema import Call, Layer, Request, part

SAME = 1e-2
"""Two keys are the same if they differ by less, relative to the largest of the layer."""


def text_placed(session: Session, request: Request) -> None:
    """Where text and picture first meet, the keys of the text do not follow the seed.

    There the text has seen nothing of the picture yet, which begins with the seed's noise: a layout
    that has text and picture exchanged puts noise among the text. It does not show where the model
    computes its softmax in the open, nor if the picture begins without noise, as masks.
    """
    session, request = begin(session, request)
    first, second = (
        _first_keys(session, replace(request, seed=seed))
        for seed in (request.seed, request.seed + 1)
    )
    if first is None or second is None:
        return
    layer, keys = first
    apart = np.abs(keys - second[1]).max(axis=(0, 2)) / max(np.abs(keys).max(), 1e-9)
    for segment in part(layer.keys, "text"):
        distance = float(apart[segment.start : segment.stop].max())
        if not segment.is_generated and distance > SAME:
            fail(
                "layers()",
                f"{layer.path}: the keys of text segment '{segment.name}' follow the seed "
                f"(by {distance:.1e} of the largest)",
                "lay out text and picture in layers() and sequence() in the order in which the "
                "model joins them",
            )


def _first_keys(session: Session, request: Request) -> tuple[Layer, np.ndarray] | None:
    """Return the first layer that mixes text and picture, and its keys (head, key, channel)."""
    met: list[tuple[Layer, Attention]] = []

    def visit(call: Call, row: int, layer: Layer, attention: Attention) -> None:
        mixes = part(layer.keys, "image") and part((*layer.queries, *layer.keys), "text")
        if mixes and not met and call.rows[row][0] == "cond":
            met.append((layer, attention))

    watched(session, [request], visit)
    if not met or met[0][1].query is None:
        return None
    layer, attention = met[0]
    return layer, as_float64(attention.factors()[1][0])
