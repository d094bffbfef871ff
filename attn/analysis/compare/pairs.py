"""Two traces that belong together, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from attn.analysis.compare.agreement import Agreement, agree
from attn.analysis.compare.drawings import with_drawing
from attn.analysis.compare.images import compare_image_pairs
from attn.analysis.compare.reading import SideReading, SideSelection, read, regrid
from attn.analysis.compare.terms import Term, find_terms
from attn.analysis.numbers import Numbers
from attn.analysis.words.maps.dominance import Dominance, dominance, rivals
from attn.analysis.words.maps.similarity import compare_maps
from attn.analysis.words.selection import SCALE_HELP, Scale
from attn.analysis.words.word_measures import tell_left_out
from attn.choices import Pooling
from attn.errors import AnalysisError
from attn.shapes import WordMaps
from attn.trace.words.occurrences import locate
from attn.trace.words.prompts import Prompt, read_prompt
from attn.trace.words.sums import TOGETHER

if TYPE_CHECKING:
    from attn.analysis.compare.agreement import Side
    from attn.schema import Layer
    from attn.trace.trace import Trace

Readings = dict[SideSelection, SideReading]
ReadSide = Callable[["Trace", SideSelection], SideReading]

COARSE = 32
"""Rows and columns at most of the maps that are kept of every pair."""


@dataclass(frozen=True)
class PairOptions:
    """What to compare."""

    words: tuple[str, ...] | None = field(
        default=None, metadata={"help": "only these words; case does not count"}
    )
    phrases: tuple[str, ...] = field(
        default=(), metadata={"help": "also these words in a row, such as 'red cat'"}
    )
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is the first tower"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})
    branch: Literal["cond", "uncond"] = field(default="cond", metadata={"help": "guidance row"})
    pooling: Pooling = field(
        default="mean", metadata={"help": "how one map is made of many: mean, or DAAM's way"}
    )
    dominance: Dominance = field(
        default="lift", metadata={"help": "what decides which word is ahead: lift, or mass"}
    )
    scale: Scale = field(default="auto", metadata={"help": SCALE_HELP})
    seed: int | None = field(
        default=None,
        metadata={"help": "of the pair in figures of one pair; empty is one of median change"},
    )

    def __post_init__(self) -> None:
        if self.words == ():
            raise ValueError("words: nothing is named; leave the option out for all words")


@dataclass(frozen=True)
class Pair:
    """What two traces say of the terms that they share; the same terms in the same order.

    Attributes:
        agreement: what could be compared.
        layers: of the base, those that were compared.
        steps: indices of the steps that were compared, of the base.
        base: the one reading.
        variant: the other, its maps on the base's grid.
        alike: (sample, term, measure) of `similarity.MEASURES`, or None without maps.
        dominant: (base and variant, sample, term): part of the places that a word dominates, NaN of
            those that do not compete; see `words.dominance`.
        changed: (sample,) by segment: part of the places with another dominant word.
        overlap: (base and variant, sample, term, measure) of `sketch.COMPARED` with one drawing,
            or None without maps or strokes.
        closed: names of the closed shapes of this drawing.
        lifts: (base and variant, sample, term, shape): how much more a term reads each of them than
            an even map, or None without shapes.
        followed: (base and variant, sample, measure) of `drawings.FOLLOWED`, or None without
            strokes or images of their size.
        coarse: (base and variant, sample, term, row, column): the maps by area on a grid of at most
            `COARSE` rows and columns; probability. None without maps.
        images: (sample, measure) of `images.IMAGE_MEASURES`, or None without two images.
        prompt: of the base.
        seed: of the base.
    """

    agreement: Agreement
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    base: SideReading
    variant: SideReading
    alike: Numbers | None
    dominant: Numbers | None
    changed: dict[str, Numbers]
    overlap: Numbers | None = None
    closed: tuple[str, ...] = ()
    lifts: Numbers | None = None
    followed: Numbers | None = None
    coarse: Numbers | None = None
    images: Numbers | None = None
    prompt: str = ""
    seed: int = 0

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms, as the base has them."""
        return self.base.terms

    @property
    def lack(self) -> str:
        """What is missing where maps were not compared, and of which trace; else nothing."""
        lacks = {"the baseline": self.base.lack, "the variant": self.variant.lack}
        if lacks["the baseline"] == lacks["the variant"]:
            return f"both lack {self.base.lack}" if self.base.lack else ""
        return " and ".join(f"{side} lacks {lack}" for side, lack in lacks.items() if lack)

    def without_maps(self) -> Pair:
        """Return a copy without the maps, which take most of the memory."""
        return replace(
            self, base=replace(self.base, maps=None), variant=replace(self.variant, maps=None)
        )


def compare_pair(
    base: Trace,
    variant: Trace,
    options: PairOptions,
    readings: Readings,
    read_side: ReadSide | None = None,
) -> Pair:
    """Compare two traces.

    Args:
        base: the one.
        variant: the other.
        options: what to compare.
        readings: readings of the base, so that several variants need one pass over it; added to.
        read_side: reads one of them; None is `read`.

    Raises:
        AnalysisError: they share no word, or there is nothing to compare.
        TraceError: a shard is damaged.
    """
    agreement, first, second = select_pair(base, variant, options)
    read_side = read_side or read
    if first not in readings:
        readings[first] = read_side(base, first)
    before, after = readings[first], read_side(variant, second)
    steps = agreement.base.steps or tuple(step.index for step in base.steps)
    layers = tuple(base.layer(index) for index in agreement.base.layers)
    images, lack = compare_image_pairs(base, variant)
    if lack:
        agreement = replace(agreement, notes=(*agreement.notes, lack))
    request = base.manifest.request
    pair = Pair(agreement, layers, steps, before, after, None, None, {}, images=images)
    pair = replace(pair, prompt=request.prompt, seed=request.seed)
    if before.maps is None or after.maps is None:
        return pair
    return with_drawing(_with_maps(pair, base, options), base, variant)


def select_pair(
    base: Trace, variant: Trace, options: PairOptions
) -> tuple[Agreement, SideSelection, SideSelection]:
    """Return what could be compared of two traces, and what is read of each for it.

    Raises:
        AnalysisError: they share no word, or there is nothing to compare.
    """
    manifests = base.manifest, variant.manifest
    agreement = agree(*manifests, options.branch, options.layers, options.steps)
    names = (*(options.words or ()), *options.phrases)
    prompts = tuple(read_prompt(manifest, options.branch, names) for manifest in manifests)
    notes = (*_crossed_notes(prompts), *_phrase_notes(prompts, options.phrases, agreement.together))
    agreement = replace(agreement, notes=(*agreement.notes, *notes))
    terms = _shared_terms(prompts, options.phrases, together=agreement.together)
    if not any(term.kind == "word" for term in terms[0]):
        texts = " and ".join(f"'{manifest.request.prompt}'" for manifest in manifests)
        raise AnalysisError(f"the prompts share no word: {texts}")
    if base.manifest.samples != variant.manifest.samples:
        counts = f"{base.manifest.samples} and {variant.manifest.samples}"
        raise AnalysisError(f"the traces have {counts} images each: capture as many of both")
    first, second = (
        _select(side, side_terms, options)
        for side, side_terms in zip((agreement.base, agreement.variant), terms, strict=True)
    )
    return agreement, first, second


def word_indices(terms: Sequence[Term], segment: str) -> list[int]:
    """Return the indices of a segment's words among all terms."""
    return [
        index for index, term in enumerate(terms) if term.segment == segment and term.kind == "word"
    ]


def _shared_terms(
    prompts: Sequence[Prompt], phrases: Sequence[str], *, together: bool
) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    base, variant = (
        {term.key: term for term in find_terms(prompt, phrases, together=together)}
        for prompt in prompts
    )
    shared = [key for key in base if key in variant]
    return tuple(base[key] for key in shared), tuple(variant[key] for key in shared)


def _crossed_notes(prompts: Sequence[Prompt]) -> Iterator[str]:
    crossed: dict[str, dict[str, None]] = {}
    for prompt in prompts:
        for segment, index in sorted(prompt.crossed):
            crossed.setdefault(segment, {})[prompt.words[index].text] = None
    for segment, words in crossed.items():
        yield (
            f"segment '{segment}' reads words together with what is beside them, so they are not "
            f"compared there: {', '.join(words)}"
        )


def _phrase_notes(
    prompts: Sequence[Prompt], phrases: Sequence[str], together: bool
) -> Iterator[str]:
    """Name, by segment, the phrases that one of the two does not hold whole."""
    segments = [segment for prompt in prompts for segment in prompt.segments]
    for segment in [TOGETHER] if together else dict.fromkeys(segments):
        labels = [
            phrase.label
            for prompt in prompts
            for phrase in locate(prompt.words, phrases)
            if not prompt.is_whole(phrase.words, segment)
        ]
        yield from tell_left_out(segment, list(dict.fromkeys(labels)))


def _select(side: Side, terms: tuple[Term, ...], options: PairOptions) -> SideSelection:
    return SideSelection(options.branch, side.layers, side.steps, terms, options.pooling)


def _with_maps(pair: Pair, base: Trace, options: PairOptions) -> Pair:
    before, after = pair.base.maps, pair.variant.maps
    if before is None or after is None:
        return pair
    after = regrid(after, before.shape[-2:]) if after.shape != before.shape else after
    dominant = np.full((2, *before.shape[:2]), np.nan)
    changed = {}
    for segment in dict.fromkeys(term.segment for term in pair.terms):
        indices = word_indices(pair.terms, segment)
        among = [indices[at] for at in rivals([pair.terms[at] for at in indices], options.words)]
        if not among:
            continue
        winners = [dominance(maps, among, options.dominance) for maps in (before, after)]
        for side, winner in enumerate(winners):
            for index in among:
                dominant[side, :, index] = (winner == index).mean((1, 2))
        changed[segment] = (winners[0] != winners[1]).mean((1, 2))
    return replace(
        pair,
        variant=replace(pair.variant, maps=after),
        alike=compare_maps(before, after, _aspect(base, before)),
        dominant=dominant,
        changed=changed,
        coarse=np.stack([coarsen(before), coarsen(after)]),
    )


def coarsen(maps: WordMaps) -> Numbers:
    """Return maps by area on a grid of at most `COARSE` rows and columns, of the same shape."""
    rows, columns = maps.shape[-2:]
    factor = max(1.0, rows / COARSE, columns / COARSE)
    return regrid(maps, (max(1, round(rows / factor)), max(1, round(columns / factor))))


def _aspect(trace: Trace, maps: WordMaps) -> float:
    """Return the picture's height divided by its width; that of the grid where no size is known."""
    request = trace.manifest.request
    if request.height and request.width:
        return request.height / request.width
    rows, columns = maps.shape[-2:]
    return float(rows / columns)
