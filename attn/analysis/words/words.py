"""Word heatmaps: where each word of the prompt is attended to, and how much.

Definitions, for one word `w` with the tokens `T(w)` in one text segment:

- map    M_w[row, column] = Σ_{t ∈ T(w)} mean over layers, steps and heads of probs[query, t].
         Probability, 0 to 1: the part of a place's attention that goes to `w`. Every step of
         every layer counts the same; coarser grids are resampled by area to the finest one.
- mass   Σ_{t ∈ T(w)} mean over queries of probs[query, t], from the float32 measure `mass`;
         probability, 0 to 1.
- share  Σ_{t ∈ T(w)} mean over queries of p[query, t] / Σ_{text keys} p[query, ·], where p is the
         mean over heads; 0 to 1. Text keys are those of all text segments, specials included.

Of a phrase, the values of its words are combined as `phrases` says.

A word is one occurrence: each `a` of "a cat on a mat" has its own map. Special tokens, padding,
punctuation and the column that gathers the rest belong to no word.

Source: DAAM (Tang et al. 2023, https://arxiv.org/abs/2210.04885). It sums over steps, takes the
mean over a word's tokens and merges equal words. Here steps are averaged, so that runs of
different length compare, and tokens are summed, since probabilities of distinct keys add up.
`normalise` is what sd3.5-attention-analysis draws, without its 1e-8 in the denominator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs, find_lack
from attn.analysis.numbers import Numbers
from attn.analysis.relations import looks
from attn.analysis.result import Deferred, Result
from attn.analysis.tables import Table
from attn.analysis.words.focus import tell_best_layer
from attn.analysis.words.maps import daam
from attn.analysis.words.maps.areas import Contest, tabulate_places
from attn.analysis.words.maps.dominance import NO_WORD, Dominance
from attn.analysis.words.phrases import combine
from attn.analysis.words.selection import (
    BLOCK,
    SCALE_HELP,
    Choice,
    Kind,
    Scale,
    Selection,
    choose,
    note_frames,
    say_many,
)
from attn.analysis.words.word_measures import SegmentWords, measure, note_left_out, note_missing
from attn.analysis.words.word_tables import align, summarise, tabulate
from attn.choices import Pooling
from attn.shapes import WordMaps
from attn.trace.means import MapSums, MeanMaps, average, image_views
from attn.trace.words.sums import lay_out, sum_tokens, word_positions

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image", "text"), measures=(f"mass.{BLOCK}", f"share.{BLOCK}"), words=True)
WANTS = Needs(measures=(f"map.{BLOCK}",))
ALIGNED = "words/aligned.csv"


@dataclass(frozen=True)
class WordsOptions(Choice):
    """What to look at, and how to show it."""

    normalise: bool = field(
        default=False, metadata={"help": "divide each place by its sum over the prompt's words"}
    )
    heads: bool = field(default=False, metadata={"help": "add a row per head to words.csv"})
    pooling: Pooling = field(
        default="mean", metadata={"help": "how one map is made of many: mean, or DAAM's way"}
    )
    scale: Scale = field(default="auto", metadata={"help": SCALE_HELP})
    dominance: Dominance = field(
        default="lift", metadata={"help": "what decides which word is ahead: lift, or mass"}
    )
    from_: tuple[int, ...] | None = field(
        default=None,
        metadata={
            "help": "also where this place looks: ROW,COLUMN of the grid, or the first cell "
            "of a region and the row and column behind its last"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        looks.check_numbers(self.from_)

    @property
    def contest(self) -> Contest:
        """Who competes for the places of a picture: the named words, else those of content."""
        return Contest(self.dominance, self.words)


def run(trace: Trace, options: WordsOptions) -> Result:
    """Analyse the words and phrases of a trace.

    Returns:
        The tables `<segment>/tables/words.csv` and `words_summary.csv`, the same of phrases, and
        `words/aligned.csv`; where the trace has maps those of `places` too, and the maps to draw,
        (sample, word, row, column), by `<segment>` and `<segment>/phrases`. With `from` also what
        `relations.looks` tells of that place, to draw by its folder.

    Raises:
        AnalysisError: a word, phrase, layer, step or branch is not there.
    """
    selection = choose(trace, options)
    has_maps = find_lack(WANTS, trace.manifest) is None
    sums = _begin_maps(trace, selection, options) if has_maps else None
    tables: dict[str, Table] = {}
    arrays: dict[str, Callable[[], xr.DataArray]] = {}
    notes: list[str] = []
    segments = measure(trace, selection, heads=options.heads, together=options.together, maps=sums)
    means = _mean_maps(trace, selection, options, sums) if has_maps else None
    told = _tell_best(trace, selection, options) if segments and means else ""
    for measured in segments:
        maps = _word_maps(means, measured.segment, selection, options) if means else None
        shown: list[tuple[Kind, SegmentWords, WordMaps | None]] = [
            ("words", measured.take(selection.words), _take(maps, selection))
        ]
        if selection.phrases:
            joined = measured.join(selection.phrases, options.weights)
            shown.append(("phrases", joined, _join(maps, selection, options)))
        for kind, entry, entry_maps in shown:
            tables |= _tabulate(kind, entry, entry_maps, options.contest)
            drawn = entry.ranked()[: options.topk]
            if drawn and means is not None and entry_maps is not None:
                key = measured.segment if kind == "words" else f"{measured.segment}/{kind}"
                averaged = (means.layers, selection, options, told)
                arrays[key] = partial(_label, entry_maps, entry, sorted(drawn), kind, averaged)
            notes += note_missing(trace, entry) if kind == "words" else note_left_out(entry)
    if not segments:
        return Result({}, notes=("no captured layer reads a token of the prompt's words",))
    tables[ALIGNED] = align(selection)
    if options.from_ is not None:
        seen, maps_from = looks.tabulate_looks(trace, selection, options.from_)
        tables |= seen
        arrays[looks.FOLDER] = lambda: maps_from
    notes += [*note_frames(selection.layers), *([told] if told else [])]
    return Result(tables, Deferred(arrays), notes=tuple(notes))


def _tell_best(trace: Trace, selection: Selection, options: WordsOptions) -> str:
    """Say if one layer shows what the mean over all of them hides, where that is what is drawn."""
    if options.layers:
        return ""
    prompt = selection.branch, selection.text
    return tell_best_layer(trace, BLOCK, selection.layers, selection.steps, prompt)


def _tabulate(
    kind: Kind, measured: SegmentWords, maps: WordMaps | None, contest: Contest
) -> dict[str, Table]:
    """Return the summary, and the long table unless the segment has none of the words.

    Words that a segment lacks stay in the summary, without values; such phrases are left out.
    """
    name, start = kind.removesuffix("s"), f"{measured.segment}/tables/{kind}"
    summary = summarise(measured, maps, name)
    if kind == "phrases":
        summary = {name: column[summary["tokens"] > 0] for name, column in summary.items()}
    tables = {f"{start}_summary.csv": summary}
    if measured.tokens.any():
        tables[f"{start}.csv"] = tabulate(measured, name)
        if kind == "words" and maps is not None:
            tables |= tabulate_places(maps, measured, contest)
    return tables


def _begin_maps(trace: Trace, selection: Selection, options: WordsOptions) -> MapSums | None:
    """Return what the steps' maps are added to, if the mean is made of maps of single steps."""
    if options.pooling == "daam":
        return None
    views = image_views(trace, BLOCK, selection.layers)
    row = trace.branches.index(selection.branch)
    return MapSums(views, row) if views[0].is_stepwise else None


def _mean_maps(
    trace: Trace, selection: Selection, options: WordsOptions, sums: MapSums | None
) -> MeanMaps:
    """Return one map per key and sample of many layers, steps and heads."""
    if sums is not None:
        return sums.means()
    steps = selection.steps if options.steps else None
    pool = daam.pool if options.pooling == "daam" else average
    return pool(trace, BLOCK, selection.layers, steps, selection.branch)


def _word_maps(
    means: MeanMaps, segment: str, selection: Selection, options: WordsOptions
) -> WordMaps:
    """Return the maps of all words of the prompt, (sample, word, row, column)."""
    members = lay_out(means.columns, word_positions(selection.prompt, selection.tokens, segment))
    maps = sum_tokens(means.values, members)
    if options.pooling == "daam":
        maps /= np.maximum(members.sum(axis=0), 1)
    if options.normalise:
        total = np.nansum(maps, axis=-1, keepdims=True)
        maps = np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)
    return np.moveaxis(maps, -1, 1)


def _take(maps: WordMaps | None, selection: Selection) -> Numbers | None:
    """Return the maps of the selected words."""
    if maps is None:
        return None
    return maps[:, [word.index for word in selection.words]]


def _join(maps: WordMaps | None, selection: Selection, options: WordsOptions) -> Numbers | None:
    """Return the maps of the phrases; what weighs is each word's mean over its map."""
    if maps is None:
        return None
    values = np.moveaxis(maps, 0, -1)
    combined = combine(values, selection.phrases, options.weights, values.mean(axis=(1, 2)))
    return np.moveaxis(combined, -1, 0)


def _label(
    maps: WordMaps,
    measured: SegmentWords,
    indices: list[int],
    kind: Kind,
    averaged: tuple[Sequence[int], Selection, WordsOptions, str],
) -> xr.DataArray:
    """Name the axes of the maps to draw; `attrs` say what they are averaged over.

    Args:
        maps: (sample, word, row, column).
        measured: the words.
        indices: of those to draw.
        kind: of words.
        averaged: the layers that are in the maps, what they are of, how, what is said of that.
    """
    import xarray as xr

    layers, selection, options, told = averaged
    words = [measured.words[index] for index in indices]
    winners, among = options.contest.winners(maps, measured)
    at = np.array([*(word.index for word in measured.words), NO_WORD])
    unit = "part of the words' attention" if options.normalise else "attention probability"
    how = "mean" if options.pooling == "mean" else "DAAM's mean"
    many = say_many(selection.layers, len(layers), len(selection.steps))
    pooling = f"{how} over {many} and all heads"
    return xr.DataArray(
        maps[:, indices],
        dims=("sample", "word", "row", "column"),
        coords={
            "word": [word.index for word in words],
            "text": ("word", [word.text for word in words]),
            "label": ("word", [word.label for word in words]),
            "mass": (("sample", "word"), measured.mass[indices].T),
            "winner": (("sample", "row", "column"), at[winners]),
        },
        attrs={
            "kind": kind,
            "segment": measured.segment,
            "branch": measured.branch,
            "measure": f"map.{BLOCK}",
            "unit": f"{unit}, {pooling}",
            "layers": list(layers),
            "steps": list(selection.steps),
            "scale": options.scale,
            "dominance": options.dominance,
            "rivals": [int(index) for index in at[among]],
            "told": told,
            "left_out": int((measured.tokens > 0).sum()) - len(indices),
        },
    )
