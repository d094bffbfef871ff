"""Curves: the attention to words and phrases over the steps of the generation, layer by layer.

Definitions, for one word in one text segment and one layer, with `v[s]` its value at step `s`:

- v        `share`: part of the text's attention that goes to the word's tokens, or `mass`; both as
           the analysis `words` defines them, mean over heads. 0 to 1.
- stepavg  mean of v over the steps in which the layer ran.
- auc      area under v over the index of the step, by the trapezoidal rule: Σ v - (v_first +
           v_last) / 2 where every step ran. Unit: steps; 0 for a single step. So it is about
           (steps - 1) · stepavg, and says little that stepavg does not.

Time runs forward: step 0 is the first one of the generation.

Source: sd3.5-attention-analysis, whose step 0 is the last one. With `share` the values are its
"mean attention", without its 1e-8 in the denominator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np

from attn.analysis.digest import Digest
from attn.analysis.needs import Needs
from attn.analysis.numbers import mean_present
from attn.analysis.result import Deferred, Matrix, Result, WritableFile
from attn.analysis.tables import Table, make_table
from attn.analysis.words.selection import BLOCK, Choice, Selection, choose
from attn.analysis.words.word_measures import SegmentWords, measure, note_left_out, note_missing
from attn.analysis.words.word_tables import numbers, texts
from attn.schema import name_layers
from attn.shapes import WordCurves, WordLayers
from attn.trace.labels import block_numbers
from attn.words import is_content

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image", "text"), measures=(f"mass.{BLOCK}", f"share.{BLOCK}"), words=True)
DRAWN = 8
"""Curves in one picture, unless `topk` says otherwise: more cannot be told apart."""

Measure = Literal["share", "mass"]


class StepAxis(TypedDict):
    """The coordinates of an axis `step`."""

    step: tuple[str, list[int]]
    noise: tuple[str, list[float]]


@dataclass(frozen=True)
class CurvesOptions(Choice):
    """What to look at, and how to write it."""

    measure: Measure = field(
        default="share", metadata={"help": "part of the text's attention, or probability"}
    )
    csv: Literal["tidy", "wide"] = field(
        default="tidy", metadata={"help": "wide is sd3.5-attention-analysis' shape of the tables"}
    )
    files: Literal["grid", "all"] = field(
        default="grid", metadata={"help": "all adds a picture per layer to the grid of all layers"}
    )


def run(trace: Trace, options: CurvesOptions) -> Result:
    """Follow the words and phrases of a trace over its steps.

    Returns:
        The tables `<segment>/tables/{words,phrases}_{auc,stepavg}.csv`; the curves to draw,
        (sample, word, layer, step), by `<segment>/words` and `<segment>/phrases`. Their coordinate
        `row` numbers the layers by `numbered`: `block`, or `layer` where blocks have no numbers.

    Raises:
        AnalysisError: a word, phrase, layer, step or branch is not there.
    """
    selection = choose(trace, options)
    tables: dict[str, Table] = {}
    files: dict[str, WritableFile] = {}
    arrays: dict[str, Callable[[], xr.DataArray]] = {}
    segments = measure(trace, selection, heads=False, together=options.together)
    shown = [pair for measured in segments for pair in _kinds(measured, selection, options)]
    for kind, entry in shown:
        values = _stack(entry, options.measure)
        start = f"{entry.segment}/tables/{kind}"
        for name, means in (("auc", _areas(values, entry.steps)), ("stepavg", _means(values))):
            if options.csv == "tidy":
                tables[f"{start}_{name}.csv"] = _tabulate(entry, means, kind, name)
            else:
                files |= _widen(trace, entry, means, f"{start}_{name}")
        arrays[f"{entry.segment}/{kind}"] = partial(_label, trace, values, entry, kind, options)
    notes = tuple(
        note for measured in segments for note in _note(trace, measured, selection, options)
    )
    digests = _digest(trace, [measured.take(selection.words) for measured in segments])
    return Result(tables, Deferred(arrays), notes, files, digests)


def _note(
    trace: Trace, measured: SegmentWords, selection: Selection, options: CurvesOptions
) -> list[str]:
    """Note the words and phrases that a segment holds only in part, as `words` does."""
    joined = measured.join(selection.phrases, options.weights)
    return note_missing(trace, measured.take(selection.words)) + note_left_out(joined)


def _kinds(
    measured: SegmentWords, selection: Selection, options: CurvesOptions
) -> list[tuple[str, SegmentWords]]:
    """Return the words, and the phrases, that have tokens in the segment."""
    kinds = {"words": measured.take(selection.words)}
    if selection.phrases:
        kinds["phrases"] = measured.join(selection.phrases, options.weights)
    return [(kind, entry) for kind, entry in kinds.items() if entry.tokens.any()]


def _stack(measured: SegmentWords, measure: Measure) -> WordCurves:
    """Return (word, layer, step, sample)."""
    layers = [layer.share if measure == "share" else layer.mass[:, 0] for layer in measured.layers]
    return np.stack(layers, axis=1)


def _means(values: WordCurves) -> WordLayers:
    """Return (word, layer, sample)."""
    return mean_present(values, axis=2)


def _areas(values: WordCurves, steps: Sequence[int]) -> WordLayers:
    """Return (word, layer, sample): areas under what there is; a step left out is bridged."""
    x = np.asarray(steps, float)
    areas = np.asarray(np.trapezoid(values, x, axis=2))
    present = ~np.isnan(values)
    for word, layer, sample in np.argwhere(np.isnan(areas) & present.any(axis=2)):
        captured = present[word, layer, :, sample]
        areas[word, layer, sample] = np.trapezoid(
            values[word, layer, captured, sample], x[captured]
        )
    return areas


def _tabulate(measured: SegmentWords, means: WordLayers, kind: str, name: str) -> Table:
    """Lay out one number per word, layer and sample."""
    present = np.flatnonzero(measured.tokens)
    index, layer, sample = np.indices(means[present].shape).reshape(3, -1)
    word = present[index]
    return make_table(
        {
            kind.removesuffix("s"): texts(measured.words)[word],
            "occurrence": numbers(measured.words)[word],
            "segment": np.full(word.size, measured.segment, object),
            "layer": np.array([entry.layer for entry in measured.layers])[layer],
            "branch": np.full(word.size, measured.branch, object),
            "sample": sample,
            name: means[present].ravel(),
        }
    )


def _widen(
    trace: Trace, measured: SegmentWords, means: WordLayers, start: str
) -> dict[str, WritableFile]:
    """Return a wide table per sample."""
    present = np.flatnonzero(measured.tokens)
    name, rows = _number(trace, measured)
    header = (name, *(measured.words[int(word)].text for word in present))
    samples = means.shape[2]
    return {
        f"{start}{ending(sample, samples)}.csv": Matrix(header, rows, means[present, :, sample].T)
        for sample in range(samples)
    }


def _number(trace: Trace, measured: SegmentWords) -> tuple[Literal["block", "layer"], list[int]]:
    """Return by what layers are numbered, blocks where each block has one, and their numbers."""
    blocks = block_numbers([layer for layer in trace.layers if BLOCK in layer.blocks])
    layers = [layer.layer for layer in measured.layers]
    return ("layer", layers) if blocks is None else ("block", [blocks[layer] for layer in layers])


def ending(sample: int, samples: int) -> str:
    """Return the file name's suffix for a sample, empty if there is only one."""
    return f"-sample-{sample}" if samples > 1 else ""


def _label(
    trace: Trace, values: WordCurves, measured: SegmentWords, kind: str, options: CurvesOptions
) -> xr.DataArray:
    """Name the axes of the curves to draw: words of most mass, in the prompt's order.

    Unless so many are asked for, content words come before articles and the like.
    """
    import xarray as xr

    ranked = measured.ranked()
    if options.topk is None:
        ranked.sort(key=lambda index: not is_content(measured.words[index].text))
    indices = sorted(ranked[: options.topk or DRAWN])
    words = [measured.words[index] for index in indices]
    unit = {"share": "part of the text's attention", "mass": "attention probability"}
    numbered, rows = _number(trace, measured)
    return xr.DataArray(
        np.moveaxis(values[indices], -1, 0),
        dims=("sample", "word", "layer", "step"),
        coords={
            "word": [word.index for word in words],
            "label": ("word", [word.label for word in words]),
            "layer": [layer.layer for layer in measured.layers],
            "row": ("layer", rows),
            "path": ("layer", [trace.layer(layer.layer).path for layer in measured.layers]),
            **step_axis(trace, measured.steps),
        },
        attrs={
            "kind": kind,
            "segment": measured.segment,
            "branch": measured.branch,
            "measure": options.measure,
            "numbered": numbered,
            "unit": f"{unit[options.measure]}, mean over heads",
            "left_out": int((measured.tokens > 0).sum()) - len(indices),
            "files": options.files,
        },
    )


def step_axis(trace: Trace, steps: Sequence[int]) -> StepAxis:
    """Return the coordinates of an axis `step`; noise that the sampler does not say is NaN."""
    noises = {step.index: step.noise for step in trace.steps}
    noise = [noises[step] for step in steps]
    return {
        "step": ("step", list(steps)),
        "noise": ("step", [np.nan if value is None else value for value in noise]),
    }


def _digest(trace: Trace, segments: Sequence[SegmentWords]) -> dict[str, Digest]:
    """Return the share of each word of the first segment, by step and by layer, mean over samples.

    Of many words the first content words are there.
    """
    if not segments:
        return {}
    measured, shares = segments[0], mean_present(_stack(segments[0], "share"), axis=-1)
    present = [int(index) for index in np.flatnonzero(measured.tokens)]
    content = [index for index in present if is_content(measured.words[index].text)] or present
    by_step, by_layer = (
        {
            measured.words[index].label: mean_present(shares[index], axis)
            for index in content[:DRAWN]
        }
        for axis in (0, 1)
    )
    layers = tuple(layer.layer for layer in measured.layers)
    axis = step_axis(trace, measured.steps)
    steps, noise = tuple(axis["step"][1]), tuple(axis["noise"][1])
    of = f" of {measured.segment}" if len(segments) > 1 else ""
    unit = "part of the text's attention"
    names = name_layers(trace.layers)
    return {
        "1 words by step": Digest(
            by_step, "step", steps, f"Words{of}, by step", unit, noise, is_of_prompt=True
        ),
        "2 words by layer": Digest(
            by_layer, "layer", layers, f"Words{of}, by layer", unit, names=names, is_of_prompt=True
        ),
    }
