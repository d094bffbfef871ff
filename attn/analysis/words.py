"""Word heatmaps: where each word of the prompt is attended to, and how much.

Definitions, for one word `w` with the tokens `T(w)` in one text segment:

- map    M_w[row, column] = Σ_{t ∈ T(w)} mean over layers, steps and heads of probs[query, t].
         Probability, 0 to 1: the part of a place's attention that goes to `w`. Every step of
         every layer counts the same; coarser grids are resampled by area to the finest one.
- mass   Σ_{t ∈ T(w)} mean over queries of probs[query, t], from the float32 measure `mass`;
         probability, 0 to 1.
- share  Σ_{t ∈ T(w)} mean over queries of p[query, t] / Σ_{text keys} p[query, ·], where p is the
         mean over heads; 0 to 1. Text keys are those of all text segments, specials included.

A word is one occurrence: each `a` of "a cat on a mat" has its own map. Special tokens, padding,
punctuation and the column that gathers the rest belong to no word.

Source: DAAM (Tang et al. 2023, https://arxiv.org/abs/2210.04885). It sums over steps, takes the
mean over a word's tokens and merges equal words. Here steps are averaged, so that runs of
different length compare, and tokens are summed, since probabilities of distinct keys add up.
`normalise` is what sd3.5-attention-analysis draws, without its 1e-8 in the denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from attn.analysis import daam
from attn.analysis.needs import Needs, find_lack
from attn.analysis.pool import Numbers, sum_tokens, token_places
from attn.analysis.result import Result, Table
from attn.analysis.select import (
    Occurrence,
    find_occurrences,
    select_layers,
    select_steps,
    select_words,
)
from attn.analysis.word_tables import LayerWords, SegmentWords, summarise, tabulate
from attn.errors import AnalysisError
from attn.labels import key_labels
from attn.schema import Layer, find_words

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace import Trace

BLOCK = "image.text"
NEEDS = Needs(segments=("image", "text"), measures=(f"mass.{BLOCK}", f"share.{BLOCK}"))
WANTS = Needs(measures=(f"map.{BLOCK}",))


@dataclass(frozen=True)
class Options:
    """What to look at, and how to show it."""

    words: tuple[str, ...] | None = field(
        default=None, metadata={"help": "only these words; case does not count"}
    )
    topk: int | None = field(
        default=None, metadata={"help": "draw only this many words, those of most mass"}
    )
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is the first tower"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})
    branch: str | None = field(
        default=None, metadata={"help": "guidance row; none is the first that was kept"}
    )
    normalise: bool = field(
        default=False, metadata={"help": "divide each place by its sum over the prompt's words"}
    )
    heads: bool = field(default=False, metadata={"help": "add a row per head to words.csv"})
    pooling: Literal["mean", "daam"] = field(
        default="mean", metadata={"help": "how one map is made of many: mean, or DAAM's way"}
    )
    scale: Literal["shared", "own"] = field(
        default="shared", metadata={"help": "own gives each word's picture its own colour scale"}
    )

    def __post_init__(self) -> None:
        if self.topk is not None and self.topk < 1:
            raise ValueError(f"topk must be at least 1, got {self.topk}")
        if self.words == ():
            raise ValueError("words: nothing is named; leave the option out for all words")


@dataclass(frozen=True)
class Selection:
    """What of a trace is analysed; `prompt` has all words, `words` the selected ones."""

    branch: str
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    prompt: tuple[Occurrence, ...]
    words: tuple[Occurrence, ...]


def run(trace: Trace, options: Options) -> Result:
    """Analyse the words of a trace.

    Returns:
        The tables `<segment>/tables/words.csv` and `words_summary.csv`; by segment the maps to
        draw, (sample, word, row, column), where the trace has maps.

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
    """
    chosen = _select(trace, options)
    lack = find_lack(WANTS, trace.manifest)
    means = [] if lack else _mean_maps(trace, chosen, options)
    tables: dict[str, Table] = {}
    arrays: dict[str, xr.DataArray] = {}
    notes: list[str] = []
    for measured in _measure(trace, chosen, heads=options.heads):
        segment = measured.segment
        maps = _word_maps(trace, means, segment, chosen, options) if means else None
        summary = summarise(measured, maps)
        tables[f"{segment}/tables/words_summary.csv"] = summary
        drawn = _rank(measured, summary)[: options.topk]
        if drawn:
            tables[f"{segment}/tables/words.csv"] = tabulate(measured)
        if drawn and maps is not None:
            arrays[segment] = _label(maps, measured, sorted(drawn), chosen, options)
        notes += _note_missing(trace, measured)
    return Result(tables, arrays, tuple(notes))


def _select(trace: Trace, options: Options) -> Selection:
    branch = options.branch or trace.branches[0]
    if branch not in trace.branches:
        known = ", ".join(trace.branches)
        raise AnalysisError(f"branch '{branch}' was not captured; there is {known}")
    negative = trace.manifest.request.negative or ""
    prompt = find_occurrences(find_words(negative) if branch == "uncond" else trace.words)
    captured = [layer for layer in trace.layers if BLOCK in layer.blocks]
    return Selection(
        branch=branch,
        layers=select_layers(captured, options.layers),
        steps=select_steps(trace.steps, options.steps),
        prompt=prompt,
        words=select_words(prompt, options.words),
    )


def _measure(trace: Trace, chosen: Selection, *, heads: bool) -> list[SegmentWords]:
    """Read masses and shares, layer by layer, and keep only the sums over tokens.

    Segments without any word of the prompt (an encoder that was left out) are not looked at.
    """
    found: dict[str, SegmentWords] = {}
    tokens = trace.tokens(chosen.branch)
    worded = {token.segment for token in tokens if token.word is not None}
    for layer in chosen.layers:
        cells = {"branch": chosen.branch, "step": list(chosen.steps)}
        mass = trace.mass(layer.index, BLOCK).sel(cells).load()
        share = trace.share(layer.index).sel(cells).load()
        for segment in (name for name in dict.fromkeys(mass["segment"].values) if name in worded):
            places = token_places(mass, segment, chosen.words, tokens)
            if segment not in found:
                counts = places.sum(axis=0).astype(np.int64)
                found[segment] = SegmentWords(
                    segment, chosen.branch, chosen.words, counts, chosen.steps, []
                )
            found[segment].layers.append(_sum_layer(layer, mass, share, places, heads=heads))
    return list(found.values())


def _sum_layer(
    layer: Layer, mass: xr.DataArray, share: xr.DataArray, places: Numbers, *, heads: bool
) -> LayerWords:
    ordered = mass.transpose("head", "step", "sample", "key")
    per_head = np.moveaxis(sum_tokens(ordered, places), -1, 0)
    rows = [per_head.mean(axis=1, keepdims=True), *([per_head] if heads else [])]
    shares = sum_tokens(share.transpose("step", "sample", "key"), places)
    return LayerWords(layer.index, np.concatenate(rows, axis=1), np.moveaxis(shares, -1, 0))


def _mean_maps(trace: Trace, chosen: Selection, options: Options) -> list[xr.DataArray]:
    """Return one map per key and sample of many layers, steps and heads: (row, column, key)."""
    steps = chosen.steps if options.steps else None
    import xarray as xr

    if options.pooling == "daam":
        pooled = daam.pool(trace, BLOCK, chosen.layers, steps, chosen.branch)
        labels = key_labels(trace.manifest, pooled.columns, [chosen.branch])
        dims = ("row", "column", "key")
        return [xr.DataArray(maps, labels, dims) for maps in pooled.values]
    return [
        trace.mean_maps(
            BLOCK,
            layers=[layer.index for layer in chosen.layers],
            steps=steps,
            branch=chosen.branch,
            sample=sample,
        )
        for sample in range(trace.manifest.samples)
    ]


def _word_maps(
    trace: Trace, means: Sequence[xr.DataArray], segment: str, chosen: Selection, options: Options
) -> Numbers:
    """Return the maps of the selected words, (sample, word, row, column)."""
    places = token_places(means[0], segment, chosen.prompt, trace.tokens(chosen.branch))
    maps = np.stack([sum_tokens(mean, places) for mean in means])
    if options.pooling == "daam":
        maps /= np.maximum(places.sum(axis=0), 1)
    if options.normalise:
        total = np.nansum(maps, axis=-1, keepdims=True)
        maps = np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)
    selected = [chosen.prompt.index(word) for word in chosen.words]
    return np.moveaxis(maps[..., selected], -1, 1)


def _rank(measured: SegmentWords, summary: Table) -> list[int]:
    """Return the places of the words that have tokens, largest mass over all samples first."""
    mass = summary.columns["mass"].reshape(len(measured.words), -1).sum(axis=1)
    places = np.flatnonzero(measured.tokens)
    return [int(place) for place in places[np.argsort(-mass[places], kind="stable")]]


def _label(
    maps: Numbers, measured: SegmentWords, places: list[int], chosen: Selection, options: Options
) -> xr.DataArray:
    """Name the axes of the maps to draw; `attrs` say what they are averaged over."""
    import xarray as xr

    words = [measured.words[place] for place in places]
    layers, steps = len(chosen.layers), len(chosen.steps)
    unit = "part of the words' attention" if options.normalise else "attention probability"
    how = "mean" if options.pooling == "mean" else "DAAM's mean"
    pooling = f"{how} over {_count(layers, 'layer')}, {_count(steps, 'step')} and all heads"
    return xr.DataArray(
        maps[:, places],
        dims=("sample", "word", "row", "column"),
        coords={
            "word": [word.index for word in words],
            "text": ("word", [word.text for word in words]),
            "label": ("word", [word.label for word in words]),
        },
        attrs={
            "segment": measured.segment,
            "branch": chosen.branch,
            "measure": f"map.{BLOCK}",
            "unit": f"{unit}, {pooling}",
            "layers": [layer.index for layer in chosen.layers],
            "steps": list(chosen.steps),
            "scale": options.scale,
        },
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _note_missing(trace: Trace, measured: SegmentWords) -> list[str]:
    """Name the words that the segment does not hold."""
    pairs = zip(measured.words, measured.tokens, strict=True)
    missing = ", ".join(word.label for word, tokens in pairs if not tokens)
    cut = trace.manifest.truncated.get(measured.branch, {})
    why = ": the prompt did not fit" if measured.segment in cut else ""
    return [f"segment '{measured.segment}' has no token of {missing}{why}"] if missing else []
