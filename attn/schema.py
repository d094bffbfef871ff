"""What a trace is: plain data that every family writes and every analysis reads.

A *trace* is one captured generation. Its tensors are named `<layer>/<measure>.<block>`
(`7/map.image.text`); their first axes are `branch` and `sample`, then the axes in `MEASURES`.
A *block* is `<query part>.<key part>` of a layer, where a part is `image`, `text`, `all` or the
name of one segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from attn import words

if TYPE_CHECKING:
    import numpy as np

Word = words.Word
find_words = words.find_words
word_at = words.word_at
SCHEMA = 2
"""Newest version of `trace.json` that this code reads; it writes the oldest that says it all.

1: every step has the whole of each tensor. 2: steps have a `span`, or samples read other texts.
"""

Kind = Literal["self", "cross", "joint"]
SegmentKind = Literal["text", "image"]
Level = Literal["mass", "means", "maps", "heads", "factors"]
Keys = Literal["content", "all"]
Grid = tuple[int, int]
"""(rows, columns) of an image segment, in tokens."""

SKETCH = "outputs/sketch.png"
SKETCH_GROUND = "ground"
"""Text of that picture: `light` if its strokes are dark, `dark`, also where it is missing, if they
are light."""
"""The drawing that a model was given: white strokes on black, of the picture's size."""

UNKNOWN = "<unknown>"
"""Text of a token of which only the position is known: no tokenizer read it. Its id is -1."""

RANGE = re.compile(r"(\d+)(?:-(\d+))?")

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
}
"""Axes of every measure after `branch` and `sample`."""

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
class Segment:
    """A named span `[start, stop)` of a sequence; `grid` lays an image segment out in space.

    The tokens of a generated segment are written by the model, so they change from step to step.
    """

    name: str
    kind: SegmentKind
    start: int
    stop: int
    grid: Grid | None = None
    is_generated: bool = False

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.stop - self.start


@dataclass(frozen=True)
class Token:
    """One tokenizer unit; `start` and `stop` are character offsets into the prompt.

    `text` is what people read, `piece` what the tokenizer calls it, such as `cat</w>` or `▁cat`;
    None where the backend does not say.
    """

    position: int
    segment: str
    id: int
    text: str
    special: bool
    padding: bool
    start: int
    stop: int
    word: int | None
    piece: str | None = None

    @property
    def is_content(self) -> bool:
        """Whether the token carries text of the prompt."""
        return not (self.special or self.padding)

    @property
    def is_unknown(self) -> bool:
        """Whether only the token's position is known."""
        return self.special and self.text == UNKNOWN


@dataclass(frozen=True)
class Sequence:
    """What the model reads for one branch: segments in order, the tokens of the text segments.

    `truncated` maps a text segment to the part of the prompt that did not fit into it; `warnings`
    are what else the user should know of how the text is read.
    """

    segments: tuple[Segment, ...]
    tokens: tuple[Token, ...]
    truncated: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def segment(self, name: str) -> Segment:
        """Return the segment of that name."""
        return next(segment for segment in self.segments if segment.name == name)


@dataclass(frozen=True)
class Gate:
    """What multiplies the output of an attention module, for one part of its queries.

    `part` is `image` or `text`; `path` is the module of the tower that returns the gate's values,
    0 to 1, (row, query, head) or (row, query, head · channel), in each forward of the attention.
    """

    part: str
    path: str


@dataclass(frozen=True)
class Layer:
    """One attention module: `index` in forward order, `path` inside its tower.

    `queries` and `keys` say how the two sequences of this module are laid out, in the module's own
    positions; `blocks` are the blocks that a capture kept of it. `head_dim` is needed only by the
    level `factors`; `num_key_heads` only where it differs from `num_heads` (grouped queries).
    `gates` are those that act on its output.
    """

    index: int
    tower: str
    path: str
    kind: Kind
    num_heads: int
    queries: tuple[Segment, ...]
    keys: tuple[Segment, ...]
    blocks: tuple[str, ...] = ()
    head_dim: int | None = None
    num_key_heads: int | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def grid(self) -> Grid | None:
        """Rows and columns of the image queries, if there is exactly one image segment."""
        grids = [segment.grid for segment in self.queries if segment.grid is not None]
        return grids[0] if len(grids) == 1 else None

    @property
    def num_queries(self) -> int:
        """Length of the query sequence."""
        return max(segment.stop for segment in self.queries)

    @property
    def num_keys(self) -> int:
        """Length of the key sequence."""
        return max(segment.stop for segment in self.keys)


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
class Call:
    """One forward of a tower, announced just before it runs.

    `rows[i]` says which (branch, sample) the i-th row of the batch is. `skipped_layers` are paths
    of modules (or of their parents) that this call leaves out. `padding[i]` is the number of
    positions that the i-th row begins with and that are no part of its sequence: a mask hides them
    as keys; empty is no padding. `outcome` is asked for when the step is over, and returns all
    `STEP_MEASURES`, (row, position) with the padding; None where the model writes no text.
    """

    tower: str
    step: int
    timestep: float | None
    noise: float | None
    rows: tuple[tuple[str, int], ...]
    skipped_layers: tuple[str, ...] = ()
    padding: tuple[int, ...] = ()
    outcome: Callable[[], Mapping[str, np.ndarray]] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Lora:
    """A LoRA that a generation is made with, and what its change is multiplied by.

    Attributes:
        path: the file, or a folder as peft or diffusers saves it.
        scale: of every part of the model but those in `parts`.
        sha256: of the file; None means that it was not read yet.
        parts: scales by part: `denoiser`, `text_encoder`, `text_encoder_2`, `text_encoder_3`.
        adapter: the one of that name, of a file with several.
        config_sha256: of peft's configuration beside the file; None where there is none.
    """

    path: str
    scale: float = 1.0
    sha256: str | None = None
    parts: tuple[tuple[str, float], ...] = ()
    adapter: str | None = None
    config_sha256: str | None = None

    @property
    def strength(self) -> str:
        """Its scales as people type them: `0.8`, or `unet=0.8,te=0.4`."""
        scales = {LORA_PARTS[part]: scale for part, scale in sorted(self.parts)}
        encoders = [name for name in LORA_PARTS.values() if name != "unet"]
        if scales.keys() >= set(encoders) and len({scales[name] for name in encoders}) == 1:
            (scales["te"],) = {scales.pop(name) for name in encoders}
        if not (scales or self.adapter):
            return shortest(self.scale)
        whole = {} if self.scale == 1 else {"scale": self.scale}
        texts = [f"{name}={shortest(scale)}" for name, scale in (whole | scales).items()]
        return ",".join((*texts, *([f"adapter={self.adapter}"] if self.adapter else [])))

    @property
    def scales(self) -> tuple[float, ...]:
        """All that its change is multiplied by somewhere."""
        return (self.scale, *(scale for _, scale in self.parts))

    def scale_of(self, part: str) -> float:
        """Return what the change of one part of the model is multiplied by."""
        return dict(self.parts).get(part, self.scale)


LORA_PARTS = {
    "denoiser": "unet",
    "text_encoder": "te1",
    "text_encoder_2": "te2",
    "text_encoder_3": "te3",
}
"""The parts of a model that a LoRA changes, with the names for typing."""


def shortest(number: float) -> str:
    """Return a number in the fewest digits that tell it from others."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@dataclass(frozen=True)
class Request:
    """One generation that is asked for; None means the model's default.

    `images` pictures are made from one prompt and seed; `loras` are added up. `options` are the
    family's own: a session reads here those that its backend names in `request_options`, the others
    are for the record. `negative` stays None where the model then reads zeros in place of a text.
    """

    prompt: str
    negative: str | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    images: int = 1
    scheduler: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True)
class Column:
    """One key column of a map: a position, or None for the rest of the segment in one column.

    Positions of text segments are those of the branch's sequence, others the layer's own.
    """

    segment: str
    position: int | None


@dataclass(frozen=True)
class Kept:
    """What a capture kept: the level of detail, and the columns of text keys in its maps."""

    level: Level
    keys: Keys
    mass: Literal["text", "full"]
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
class Text:
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

    status: Literal["partial", "complete"]
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
    texts: tuple[Text, ...] = ()


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
    chosen: list[Column] = []
    for segment in part(layer.keys, block.split(".")[1]):
        if segment.kind == "text":
            chosen += [column for column in columns if column.segment == segment.name]
        else:
            chosen += [Column(segment.name, index) for index in range(segment.start, segment.stop)]
    return tuple(chosen)


def query_parts(blocks: Iterable[str]) -> tuple[str, ...]:
    """Return the query parts of blocks, once each."""
    return tuple(dict.fromkeys(block.split(".")[0] for block in blocks))


def without_mass(layer: Layer, query: str, blocks: Iterable[str]) -> tuple[Segment, ...]:
    """Return the key segments of a layer that no block of a query part has among its keys."""
    halves = (block.split(".") for block in blocks)
    having = {one for rows, key in halves if rows == query for one in part(layer.keys, key)}
    return tuple(segment for segment in layer.keys if segment not in having)
