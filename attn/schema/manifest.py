"""What `trace.json` says of a trace, and what its tensors are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from attn.choices import Keys, Level, Masses, Status
from attn.schema.layout import Column, Layer, Segment, Token
from attn.schema.requests import Request
from attn.words import Word

SCHEMA = 2
"""Newest version of `trace.json` that this code reads; it writes the oldest that says it all.

1: every step has the whole of each tensor. 2: steps have a `span`, or samples read other texts.
"""

SKETCH = "outputs/sketch.png"
"""The drawing that a model was given: white strokes on black, of the picture's size."""
SKETCH_GROUND = "ground"
"""Text of that picture: `light` if its strokes are dark, `dark`, also where it is missing, if they
are light."""

FORMING = "outputs/forming"
"""How the names of the pictures begin that show how an image formed: one for each sample, with
a frame for each step, in rows of `FORMING_ROW`, all of one size."""
FORMING_ROW = 10
"""Frames in a row of such a picture; the last row may have fewer, and is then black at its end."""
VIDEO = "outputs/video"
"""How the names of generated videos begin: animated PNGs with every frame as it was generated."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")

MEASURES: dict[str, tuple[str, ...]] = {
    "mass": ("head", "key"),
    "total": ("head", "segment"),
    "share": ("key",),
    "share_max": ("key",),
    "peak": ("key",),
    "entropy": ("head",),
    "map": ("query", "key"),
    "headmap": ("head", "query", "key"),
    "query": ("head", "position", "channel"),
    "key": ("head", "position", "channel"),
    "lse": ("head", "position"),
    "scale": (),
    "mask": ("head", "query", "key"),
    "value_norm": ("head", "key"),
    "gate": ("head", "statistic"),
    "concepts": ("query", "concept"),
    "concept_outputs": ("query", "concept"),
    "concept_key": ("head", "concept", "position", "channel"),
}
"""Axes of every measure after `branch` and `sample`."""

CONCEPT_MEASURES = ("concepts", "concept_outputs")
"""Measures of `Request.concepts`: which of them a query's logits point to, and which of their
output vectors its own is most similar to; both sum to 1 over the concepts."""

GATE_STATISTICS = ("mean", "std", "below_0.5", "below_0.1")
"""What is kept of a gate's values: mean, standard deviation, shares below 0.5 and below 0.1."""

STEP_MEASURES: dict[str, str] = {
    "tokens": "I32",
    "masked": "U8",
    "finalised": "U8",
    "confidence": "F32",
}
"""Dtypes of `step/<name>`, one number per position, of models that write their own text.

`masked` says where the model read a mask in this step, `tokens` holds the ids after it,
`finalised` says which masks it replaced, and `confidence` is the probability of the token that it
would put at a position, NaN where none was considered. So the model read `tokens`, but a mask where
`masked`.
"""


@dataclass(frozen=True)
class Step:
    """One step of the sampler in generation order.

    `timestep` is the scheduler's number; `noise` the share of noise left, 0 to 1 (sigma for flow
    models, sqrt(1 - alpha_bar) for DDPM-like ones, the masked share for masked language models).
    `span` are the positions `[start, stop)` of the sequence that the model read in this step, where
    a text grows: they are its queries, and its keys are all before `stop`. The step's tensors have
    only those. None is the whole sequence.
    """

    index: int
    timestep: float | None
    noise: float | None
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Kept:
    """What a capture kept: the level of detail, and the columns of text keys in its maps."""

    level: Level
    keys: Keys
    mass: Masses
    entropy: bool
    blocks: tuple[str, ...]
    layers: tuple[int, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Shard:
    """One finished file of tensors; `step` is None for the file of means."""

    file: str
    sha256: str
    bytes: int
    step: Step | None = None


@dataclass(frozen=True)
class SampleText:
    """What one sample reads, where samples read different texts."""

    prompt: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The contents of `trace.json`.

    Where samples read different texts, `texts` are those of each; then `tokens` has numbers for
    positions at which they differ, and there are no `words`.
    """

    status: Status
    backend: str
    model: dict[str, Any]
    request: Request
    branches: tuple[str, ...]
    samples: int
    steps: tuple[Step, ...]
    layers: tuple[Layer, ...]
    segments: dict[str, tuple[Segment, ...]]
    tokens: dict[str, tuple[Token, ...]]
    words: tuple[Word, ...]
    truncated: dict[str, dict[str, str]]
    kept: Kept
    identity: dict[str, Any]
    shards: tuple[Shard, ...]
    environment: dict[str, str]
    cost: dict[str, float]
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: int = 1
    texts: tuple[SampleText, ...] = ()


def image_names(outputs: Iterable[str]) -> list[str]:
    """Return which of the files of a trace are its generated images, or stills, by sample."""
    pictures = [name for name in outputs if name.lower().endswith(_PICTURES)]
    others = (SKETCH, FORMING, VIDEO)
    return [name for name in pictures if not name.startswith(others)]


def video_names(outputs: Iterable[str]) -> list[str]:
    """Return which of the files of a trace are its generated videos, by sample."""
    return [name for name in outputs if name.startswith(VIDEO) and name.endswith(".png")]


def forming_names(outputs: Iterable[str]) -> list[str]:
    """Return which of the files of a trace show how its images formed, by sample."""
    return [name for name in outputs if name.startswith(FORMING)]
