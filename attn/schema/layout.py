"""How a sequence is laid out: segments, tokens, and the attention modules that read it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["self", "cross", "joint"]
SegmentKind = Literal["text", "image", "padding", "sink"]
"""Padding is vectors that only fill a sequence up: neither text nor image. A sink is no
position: a learned logit beside the keys, which moves nothing; see `SINK`."""
Plane = tuple[int, int]
"""(rows, columns) of a picture, or of each frame of a video, in tokens."""
Grid = tuple[int, ...]
"""`Plane` of an image segment; (frames, rows, columns) of a video's, one frame behind the other."""
VIDEO_AXES = 3
"""So many numbers has the grid of a video."""
GRID_AXES = (2, VIDEO_AXES)
"""So many a grid can have."""

SINK = "sink"
"""Name of the key segment, the first of its layer, that stands for a learned sink."""

TEMPLATE, TEMPLATE_END = "template", "template_end"
"""Names of the segments of what a chat template puts before the prompt, and behind it."""

UNKNOWN = "<unknown>"
"""Text of a token of which only the position is known: no tokenizer read it. Its id is -1."""


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

    @property
    def plane(self) -> Plane | None:
        """Rows and columns of an image, or of each frame of a video."""
        return None if self.grid is None else (self.grid[-2], self.grid[-1])

    @property
    def frames(self) -> int:
        """Frames of a video, in tokens; 0 of anything else."""
        return self.grid[0] if self.grid is not None and len(self.grid) == VIDEO_AXES else 0


def with_sink(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return the keys of a layer that has a learned sink in front of other keys."""
    moved = (replace(part, start=part.start + 1, stop=part.stop + 1) for part in segments)
    return (Segment(SINK, "sink", 0, 1), *moved)


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
    (row, query, head) or (row, query, head · channel), in each forward of the attention: 0 to 1, or
    what `activation` makes that of. Its queries are those of the part, or, where it is `whole`, all
    of the layer: then several gates, one for each part, have the same path.
    """

    part: str
    path: str
    activation: Literal["none", "sigmoid"] = "none"
    whole: bool = False


LayerKey = tuple[str, str]
"""What tells a layer from others: (tower, path)."""


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
        """Grid of the image queries, if there is exactly one image segment."""
        grids = [segment.grid for segment in self.queries if segment.grid is not None]
        return grids[0] if len(grids) == 1 else None

    @property
    def plane(self) -> Plane | None:
        """Rows and columns of the image queries, of each frame of a video."""
        return None if self.grid is None else (self.grid[-2], self.grid[-1])

    @property
    def frames(self) -> int:
        """Frames of a video, in tokens; 0 of anything else."""
        return self.grid[0] if self.grid is not None and len(self.grid) == VIDEO_AXES else 0

    @property
    def num_queries(self) -> int:
        """Length of the query sequence."""
        return max(segment.stop for segment in self.queries)

    @property
    def num_keys(self) -> int:
        """Length of the key sequence, a learned sink included."""
        return max(segment.stop for segment in self.keys)

    @property
    def num_sinks(self) -> int:
        """How many keys, the first, are no positions but a learned sink: 0 or 1."""
        return sum(segment.length for segment in self.keys if segment.kind == "sink")


@dataclass(frozen=True)
class Column:
    """One key column of a map: a position, or None for the rest of the segment in one column.

    Positions of text segments are those of the branch's sequence, others the layer's own.
    """

    segment: str
    position: int | None
