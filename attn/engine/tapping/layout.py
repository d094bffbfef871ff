"""What the positions are that a tapped model attends with: segments, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod

from attn.engine.tapping.options import is_count
from attn.engine.tapping.stretches import Pieces, Side, Stretch
from attn.errors import CaptureError, UsageError
from attn.schema import Grid, Segment
from attn.schema.layout import GRID_AXES
from attn.trace.manifests import NAME
from attn.wording import list_some

Sides = tuple[Side, Side]
Declared = Mapping[str, int] | Sequence[Segment]
GENERATED = "generated"


@dataclass
class Layout:
    """Segments of a text, of its encoder's text, and of other sequences.

    Attributes:
        declared: the segments that the user named, in order; None where nobody did.
        grid: of a picture or video, if the user said it.
        prompt: end of what was read in the first forward, or in the first ones, where each reads
            several positions or the last one.
        whole: positions of the text of which the first forward read a piece, if it says so.
        pieces: how many forwards read the prompt.
        source: length of the text that an encoder reads, where there is one.
        lengths: of the sequences of which the user said nothing.
    """

    declared: tuple[Segment, ...] | None = None
    grid: Grid | None = None
    prompt: int | None = None
    whole: int | None = None
    pieces: int = 0
    source: int | None = None
    lengths: set[int] = field(default_factory=set)
    _fits: set[str] = field(default_factory=set)

    def read(self, stretch: Stretch, whole: int | None) -> None:
        """Note what a forward reads, and how many positions that is a piece of, if it says so."""
        if self.prompt is None:
            self.whole = whole
        elif self.prompt != stretch.start or (stretch.length == 1 and stretch.stop != self.whole):
            return
        self.prompt = stretch.stop
        self.pieces += 1

    @property
    def is_guessed(self) -> bool:
        """Whether the end of the prompt is taken from how it was read in pieces."""
        return self.declared is None and self.pieces > 1 and self.prompt != self.whole

    def require_fit(self, padded: int | None, reached: int) -> None:
        """Refuse what the user says of positions if it is true of none.

        Args:
            padded: positions of which the user says whether they are padding, if at all.
            reached: length of the text, if there is one.

        Raises:
            CaptureError: `segments=`, `grid=` or `padding=` has another length than every sequence.
        """
        texts = {self.prompt, reached, self.source} if reached else self.lengths
        if padded is not None and padded not in texts:
            expected = list_some(sorted(length for length in texts if length), 4)
            raise CaptureError(
                f"padding= names {padded} positions, but the model reads {expected}; name those "
                "of the prompt, or of the whole text"
            )
        lengths = f"the tapped modules attend with {list_some(sorted(self.lengths), 4)} positions"
        if self.declared is not None and "segments" not in self._fits:
            parts = ", ".join(f"{part.name} {part.length}" for part in self.declared)
            raise CaptureError(
                f"segments= names {self.declared[-1].stop} positions ({parts}), but {lengths}; "
                "name each of them"
            )
        if self.grid is not None and "grid" not in self._fits:
            sides, places = " x ".join(map(str, self.grid)), prod(self.grid)
            raise CaptureError(
                f"grid= has {sides} = {places} places, but {lengths}; say with "
                f"segments= where the picture is, such as {{'class': 1, 'image': {places}}}"
            )

    def queries(self, sides: Sides, stretch: Stretch | None) -> tuple[Segment, ...]:
        """Return what the queries of a kernel are, counted from the first of them."""
        if sides[0] != "text" or stretch is None:
            return self._others(sides[0], "sequence" if sides[0] == sides[1] else "query")
        parts = _clip(self.text(stretch.stop), stretch.start, stretch.stop)
        if len(parts) > 1:
            return parts
        return tuple(replace(part, is_generated=False) for part in parts)  # nothing to tell apart

    def keys(self, sides: Sides, stretch: Stretch | None) -> tuple[Segment, ...]:
        """Return what the keys of a kernel are."""
        if sides[1] != "text" or stretch is None:
            return self._others(sides[1], "sequence" if sides[0] == sides[1] else "key")
        return self.text(stretch.stop)

    def final(self, sides: Sides, which: int, reached: int) -> tuple[Segment, ...]:
        """Return what queries (0) or keys (1) are when the text has reached its end."""
        if sides[which] == "text":
            return self.text(reached)
        return (self.queries, self.keys)[which](sides, None)

    def text(self, stop: int) -> tuple[Segment, ...]:
        """Return the segments of a text of so many positions.

        Raises:
            CaptureError: the user's are of another length.
        """
        if self.declared is not None:
            if self.declared[-1].stop < stop:
                raise CaptureError(
                    f"segments= names {self.declared[-1].stop} positions, but the model reads "
                    f"{stop}; name them all"
                )
            self._note_fit(self.declared)
            return _clip(self.declared, 0, stop)
        self.lengths.add(stop)
        prompt = 0 if self.source is not None else min(self.prompt or stop, stop)
        parts = [Segment("prompt", "text", 0, prompt)] if prompt else []
        if stop > prompt:
            parts.append(Segment(GENERATED, "text", prompt, stop, is_generated=True))
        return tuple(parts)

    def _others(self, side: Side, name: str) -> tuple[Segment, ...]:
        if isinstance(side, Pieces):
            name = "windows" if side.count > 1 else "window"
            return (Segment(name, "image", 0, side.count * side.length),)
        length = self.source if side == "source" else side
        if not isinstance(length, int):
            raise CaptureError("text is attended to before any was read")
        self.lengths.add(length)
        if side == "source":
            return (Segment("prompt", "text", 0, length),)
        for segments in self._candidates():
            if sum(segment.length for segment in segments) == length:
                self._note_fit(segments)
                begin = segments[0].start
                return tuple(_moved(segment, -begin) for segment in segments)
        grid = self._grid_of(length)
        self._fits |= {"grid"} if grid else set()
        return (Segment(name, "image", 0, length, grid),)

    def _note_fit(self, segments: Sequence[Segment]) -> None:
        self._fits.add("segments")
        if any(segment.grid for segment in segments):
            self._fits.add("grid")

    def _candidates(self) -> list[tuple[Segment, ...]]:
        declared = self.declared or ()
        return [declared, *((segment,) for segment in declared)] if declared else []

    def _grid_of(self, length: int) -> Grid | None:
        if self.grid is None or prod(self.grid) != length:
            return None
        return self.grid


TAKEN = ("all", "sink")
"""Names of the whole sequence and of a learned sink, which no segment can have."""


def declare(segments: Declared | None, grid: Grid | None) -> tuple[Segment, ...] | None:
    """Return the segments that a user names: lengths by name, in order, or segments.

    Raises:
        UsageError: they do not follow each other, or the grid is of none of them.
    """
    _require_grid(grid)
    if segments is None:
        return None
    declared = _from_lengths(segments, grid) if isinstance(segments, Mapping) else segments
    is_list = isinstance(declared, Sequence) and all(isinstance(part, Segment) for part in declared)
    ends = [0, *(segment.stop for segment in declared)] if is_list else []
    if (
        not is_list
        or not declared
        or any(
            not segment.name or segment.start != end or not is_count(segment.length)
            for segment, end in zip(declared, ends, strict=False)
        )
    ):
        raise UsageError(
            "segments: expected lengths by name, such as {'prompt': 13, 'generated': 32}, or "
            f"segments that follow each other from 0 on; got {segments!r:.200}"
        )
    for name in (segment.name for segment in declared):
        if NAME.fullmatch(name) is None or name in TAKEN:
            raise UsageError(
                f"segments: a segment cannot be called {name[:40]!r}; expected letters, digits, _ "
                f"and -, and neither of {', '.join(TAKEN)}, which have a meaning"
            )
    for segment in declared:
        if segment.grid and prod(segment.grid) != segment.length:
            sides = "x".join(map(str, segment.grid))
            raise UsageError(
                f"grid: {sides} does not hold the {segment.length} "
                f"positions of segment '{segment.name}'"
            )
    return tuple(declared)


def _require_grid(grid: Grid | None) -> None:
    if grid is None:
        return
    is_one = isinstance(grid, Sequence) and len(grid) in GRID_AXES
    if not is_one or not all(map(is_count, grid)):
        raise UsageError(
            "grid: expected rows and columns, such as (32, 32), or of a video frames, rows and "
            f"columns; got {grid!r:.60}"
        )


def _from_lengths(lengths: Mapping[str, int], grid: Grid | None) -> tuple[Segment, ...]:
    """Return segments in the order of their lengths; none if those are no lengths."""
    if not all(isinstance(name, str) and is_count(lengths[name]) for name in lengths):
        return ()
    stops = accumulate(lengths.values())
    return tuple(
        Segment(
            name,
            "image" if name == "image" else "text",
            stop - lengths[name],
            stop,
            grid if name == "image" else None,
            is_generated=name == GENERATED,
        )
        for name, stop in zip(lengths, stops, strict=True)
    )


def _clip(segments: Sequence[Segment], start: int, stop: int) -> tuple[Segment, ...]:
    """Return what lies between two positions, counted from the first."""
    parts = [
        replace(
            segment,
            start=max(segment.start, start) - start,
            stop=min(segment.stop, stop) - start,
            grid=segment.grid if start <= segment.start and segment.stop <= stop else None,
        )
        for segment in segments
        if segment.start < stop and segment.stop > start
    ]
    return tuple(parts)


def _moved(segment: Segment, by: int) -> Segment:
    return replace(segment, start=segment.start + by, stop=segment.stop + by)
