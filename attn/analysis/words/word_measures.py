"""What a trace says of the words of its prompt, segment by segment and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import mean_present
from attn.analysis.words.phrases import Weights, combine
from attn.analysis.words.selection import Selection
from attn.analysis.words.shards import LayerSums, read_sums
from attn.schema import Column
from attn.shapes import WordMass, WordMeans, WordShare
from attn.trace.words.occurrences import Occurrence, Phrase
from attn.trace.words.sums import TOGETHER, lay_out, word_positions
from attn.wording import list_some

if TYPE_CHECKING:
    from attn.trace.means import MapSums
    from attn.trace.trace import Trace

NAMED = 6
"""So many missing words are named, more are counted."""


@dataclass(frozen=True)
class LayerWords:
    """The words of one segment in one layer.

    Attributes:
        layer: its index.
        mass: (word, head, step, sample); head 0 is the mean over heads, single heads may follow.
        share: (word, step, sample); a ratio of means over heads, so single heads have none.
    """

    layer: int
    mass: WordMass
    share: WordShare


@dataclass(frozen=True)
class SegmentWords:
    """The words, or phrases, of one segment.

    Attributes:
        segment: its name.
        branch: the guidance row.
        words: the words, or phrases.
        tokens: how many tokens each has in the segment.
        steps: the indices of the steps.
        layers: their values.
        cut: which word of the prompt the segment ends in the middle of; None if it ends in none.
        crossed: the words that a token reads together with what is beside them.
    """

    segment: str
    branch: str
    words: Sequence[Occurrence]
    tokens: NDArray[np.int64]
    steps: Sequence[int]
    layers: list[LayerWords]
    cut: int | None = None
    crossed: frozenset[int] = frozenset()

    @cached_property
    def mass(self) -> WordMeans:
        """Mean over steps in each layer, then over layers: (word, sample)."""
        return over_layers([layer.mass[:, 0] for layer in self.layers])

    @cached_property
    def share(self) -> WordMeans:
        """Mean over steps in each layer, then over layers: (word, sample)."""
        return over_layers([layer.share for layer in self.layers])

    def ranked(self) -> list[int]:
        """Return the places of the words that have tokens, largest mass over all samples first."""
        mass, indices = self.mass.sum(axis=1), np.flatnonzero(self.tokens)
        return [int(index) for index in indices[np.argsort(-mass[indices], kind="stable")]]

    def take(self, words: Sequence[Occurrence]) -> SegmentWords:
        """Return some of the words; these are all words of the prompt."""
        indices = [word.index for word in words]
        layers = [
            replace(layer, mass=layer.mass[indices], share=layer.share[indices])
            for layer in self.layers
        ]
        return replace(self, words=words, tokens=self.tokens[indices], layers=layers)

    def join(self, phrases: Sequence[Phrase], weights: Weights) -> SegmentWords:
        """Return the phrases instead of the words; none of a phrase that is not there whole."""
        tokens = np.array([self._count(phrase) for phrase in phrases], np.int64)
        mass, share = self.mass, self.share
        layers = [
            replace(
                layer,
                mass=combine(layer.mass, phrases, weights, mass),
                share=combine(layer.share, phrases, weights, share),
            )
            for layer in self.layers
        ]
        return replace(self, words=phrases, tokens=tokens, layers=layers)

    def _count(self, phrase: Phrase) -> int:
        """Return the tokens of a phrase; 0 unless all its words are there whole."""
        counts = self.tokens[list(phrase.words)]
        return int(counts.sum()) if counts.all() and self.cut not in phrase.words else 0


def measure(
    trace: Trace,
    selection: Selection,
    *,
    heads: bool = False,
    together: bool = False,
    maps: MapSums | None = None,
) -> tuple[SegmentWords, ...]:
    """Read masses and shares, shard by shard, and keep only the sums over tokens.

    Segments without any word of the prompt (an encoder that was left out) are not looked at.

    Args:
        trace: where to look.
        selection: what to look at; all words of the prompt are returned.
        heads: keep single heads too.
        together: add the segment `text`, with the tokens of all segments.
        maps: what the maps of each step are added to, in the same pass.
    """
    return _reading(trace, selection, heads, together).segments(maps)


class _Reading:
    """The words of a trace, which are read when they are first asked for."""

    def __init__(self, trace: Trace, selection: Selection, heads: bool, together: bool) -> None:
        self._asked = trace, selection, heads, together
        self._segments: tuple[SegmentWords, ...] | None = None

    def segments(self, maps: MapSums | None) -> tuple[SegmentWords, ...]:
        """Return the segments, and add the steps' maps to `maps`."""
        if self._segments is None:
            self._segments = _read_segments(*self._asked, maps)
        elif maps is not None:
            for lead in maps.views[0].leads(self._asked[1].steps):
                maps.add(lead)
        return self._segments


_reading = lru_cache(maxsize=1)(_Reading)  # several analyses of one trace ask for the same


def _read_segments(
    trace: Trace, selection: Selection, heads: bool, together: bool, maps: MapSums | None
) -> tuple[SegmentWords, ...]:
    names = [*selection.text.segments]
    names += [TOGETHER] if together and len(names) > 1 else []
    positions = [word_positions(selection.prompt, selection.tokens, name) for name in names]
    groups = [group for listed in positions for group in listed]
    layers = [layer.index for layer in selection.layers]
    read = read_sums(
        trace, layers, selection.steps, selection.branch, groups, heads=heads, maps=maps
    )
    by_segment: dict[str, SegmentWords] = {}
    for layer, sums in zip(layers, read, strict=True):
        counts = lay_out(sums.columns, groups).sum(axis=0).astype(np.int64)
        present = _segments_of(sums.columns, names)
        for segment in present:
            start = names.index(segment) * len(selection.prompt)
            words = slice(start, start + len(selection.prompt))
            if segment not in by_segment:
                by_segment[segment] = SegmentWords(
                    segment,
                    selection.branch,
                    selection.prompt,
                    counts[words],
                    selection.steps,
                    [],
                    selection.text.cut(segment),
                    frozenset(index for name, index in selection.text.crossed if name == segment),
                )
            by_segment[segment].layers.append(_of_words(layer, sums, words))
    return tuple(by_segment.values())


def over_layers(layers: Sequence[WordShare]) -> WordMeans:
    """Return (word, sample) of arrays (word, step, sample); layers count equally."""
    return mean_present(np.stack([mean_present(layer, axis=1) for layer in layers]), axis=0)


def note_missing(trace: Trace, measured: SegmentWords) -> list[str]:
    """Name the words that a segment does not hold, the first few of them, and the one it cuts.

    What stands before the colon is the same for every prompt.
    """
    truncated = trace.manifest.truncated.get(measured.branch, {})
    is_short = bool(truncated) if measured.segment == TOGETHER else measured.segment in truncated
    pairs = zip(measured.words, measured.tokens, strict=True)
    absent = [word for word, tokens in pairs if not tokens]
    missing = [word.label for word in absent if word.index not in measured.crossed]
    crossed = [word.label for word in absent if word.index in measured.crossed]
    joined = f"segment '{measured.segment}' reads words together with what is beside them"
    remarks = (
        [f"{joined}, so they have no values there: {list_some(crossed, NAMED)}"] if crossed else []
    )
    halved = [word.label for word in measured.words if word.index == measured.cut]
    lacks = [f"no token of {list_some(missing, NAMED)}"] if missing else []
    lacks += [f"only the beginning of {word}" for word in halved]
    if not lacks:
        return remarks
    if is_short:
        told = f"the prompt did not fit into segment '{measured.segment}'"
    else:
        told = f"segment '{measured.segment}' does not hold all words"
    return [*remarks, f"{told}: {'; '.join(lacks)}"]


def note_left_out(measured: SegmentWords) -> list[str]:
    """Name the phrases that are left out of a segment, the first few of them."""
    pairs = zip(measured.words, measured.tokens, strict=True)
    return tell_left_out(measured.segment, [word.label for word, tokens in pairs if not tokens])


def tell_left_out(segment: str, phrases: Sequence[str]) -> list[str]:
    """Note the phrases that a segment holds only in part, if there are any."""
    why = f"phrases that segment '{segment}' does not hold whole are left out"
    return [f"{why}: {list_some(phrases, NAMED)}"] if phrases else []


def _segments_of(columns: Sequence[Column], names: Sequence[str]) -> list[str]:
    """Return those of the segments that a layer reads, in its order."""
    present = [
        name for name in dict.fromkeys(column.segment for column in columns) if name in names
    ]
    return [*present, TOGETHER] if TOGETHER in names and len(present) > 1 else present


def _of_words(layer: int, sums: LayerSums, words: slice) -> LayerWords:
    """Return some of the groups as words: (word, head, step, sample) and (word, step, sample)."""
    mass, share = sums.mass[..., words], sums.share[..., words]
    return LayerWords(layer, mass.transpose(3, 2, 0, 1), share.transpose(2, 0, 1))
