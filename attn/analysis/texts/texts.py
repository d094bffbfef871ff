"""What the analyses of written texts share: what is looked at, and the maps one after the other.

Here A is the head mean of one layer, step and sample: a row per query, a column per key, rows sum
to 1; a learned sink, which is no position, is left out. T is the number of positions, p the length
of the prompt; rows and columns from p on are those that the model writes.

A step that reads only a part of a text, as each does that writes one token after another, has the
rows of that part; its keys are those before its end, and later ones receive 0. The other rows are
NaN, as those of padding are. Means over rows leave them out, and in means over steps each row that
was computed counts the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.needs import Needs, records_decisions
from attn.analysis.numbers import Numbers
from attn.analysis.tables import Table, make_table
from attn.analysis.words.select import select_layers, select_steps
from attn.errors import AnalysisError
from attn.schema import Layer, Segment, Token
from attn.shapes import HeadTokenMaps, TokenMaps
from attn.trace.shapes import Window, spans_of, step_windows

if TYPE_CHECKING:
    from attn.trace.trace import Trace

BLOCK = "all.all"
NEEDS_MAPS = Needs(texts=True, stepwise=True, measures=(f"map.{BLOCK}",))


@dataclass(frozen=True)
class TextOptions:
    """Options of all analyses of texts."""

    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is every layer"}
    )
    max_layers: int | None = field(
        default=None, metadata={"help": "only this many of those layers, the first"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})
    branch: str | None = field(
        default=None, metadata={"help": "guidance row; none is the first that was kept"}
    )

    def __post_init__(self) -> None:
        if self.max_layers is not None and self.max_layers < 1:
            raise ValueError(f"max_layers must be at least 1; got {self.max_layers}")


@dataclass(frozen=True)
class PromptOptions(TextOptions):
    """Options of the analyses that need to know where the text begins."""

    prompt_length: int | None = field(
        default=None, metadata={"help": "positions taken for the prompt; none is the run's own"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt_length is not None and self.prompt_length < 1:
            raise ValueError(f"prompt_length must be at least 1; got {self.prompt_length}")


@dataclass(frozen=True)
class TextSelection:
    """Selection of what to analyse of a text.

    Attributes:
        branch: the guidance row.
        layers: in execution order.
        steps: their indices.
        prompt: p, the position at which the text begins; 0 where nothing is written.
        tokens: of every position, those of the text as it is in the end.
        texts: the tokens of each sample, where they differ.
        keys: how many positions each step has for keys.
        rows: which rows each step computed of each sample, (step, sample, position).
        is_growing: whether steps read different parts of the text.
        is_written: whether a part of the text is written by the model.
    """

    branch: str
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    prompt: int
    tokens: tuple[Token, ...]
    texts: tuple[tuple[Token, ...], ...]
    keys: tuple[int, ...]
    rows: NDArray[np.bool_]
    is_growing: bool = False
    is_written: bool = True

    @property
    def length(self) -> int:
        """T, the number of positions."""
        return len(self.tokens)

    def segment(self, position: int) -> str:
        """Return `prompt` or `generated`."""
        return "generated" if self.is_written and position >= self.prompt else "prompt"

    def text(self, position: int, sample: int) -> str:
        """Return the token of a sample at a position."""
        return (self.texts[sample] if self.texts else self.tokens)[position].text

    def labels(self, axis: str, most: int | None = None) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the first tokens as labels of an axis, by sample where their texts differ."""
        texts = [[token.text for token in tokens[:most]] for tokens in self.texts or [self.tokens]]
        if self.texts:
            return ("sample", axis), np.array(texts, object)
        return (axis,), np.array(texts[0], object)


def choose(trace: Trace, options: TextOptions, blocks: tuple[str, ...] = (BLOCK,)) -> TextSelection:
    """Select what to analyse among the layers that have some blocks.

    Raises:
        AnalysisError: a layer, step or branch is not there, or no text is left behind the prompt.
    """
    branch = options.branch or trace.branches[0]
    if branch not in trace.branches:
        listed = ", ".join(trace.branches)
        raise AnalysisError(f"branch '{branch}' was not captured; there is {listed}")
    segments = trace.manifest.segments[branch]
    starts = [segment.start for segment in segments if segment.is_generated]
    default = starts[0] if starts else 0
    requested = options.prompt_length if isinstance(options, PromptOptions) else None
    prompt = default if requested is None else requested
    tokens = _name(trace, branch, default)
    if prompt >= len(tokens):
        raise AnalysisError(
            f"prompt_length {prompt} leaves nothing of the {len(tokens)} positions; "
            f"the run's own is {default}"
        )
    spans = spans_of(trace.manifest)
    captured = [
        layer
        for layer in trace.layers
        if {*blocks} <= {*layer.blocks} and _is_of_text(layer, spans)
    ]
    if not captured:
        raise AnalysisError(f"no captured layer has {' and '.join(blocks)} of the text alone")
    layers = select_layers(captured, options.layers)[: options.max_layers]
    steps = select_steps(trace.steps, options.steps)
    texts = tuple(text.tokens for text in trace.manifest.texts)
    windows = [step.span or (0, len(tokens)) for step in trace.steps if step.index in steps]
    return TextSelection(
        branch,
        layers,
        steps,
        prompt,
        tokens,
        texts,
        keys=tuple(stop for _, stop in windows),
        rows=_find_rows(windows, texts or (trace.tokens(branch),) * trace.manifest.samples),
        is_growing=any(step.span for step in trace.steps),
        is_written=bool(starts),
    )


def _is_of_text(layer: Layer, spans: Mapping[str, Window]) -> bool:
    """Whether all that a layer attends with and to are segments of the text, one after another."""
    return all(
        segment.name in spans and segment.length == spans[segment.name][1] - spans[segment.name][0]
        for segment in (*layer.queries, *layer.keys)
        if segment.kind != "sink"
    )


def _find_rows(windows: Sequence[Window], texts: Sequence[Sequence[Token]]) -> NDArray[np.bool_]:
    """Return which positions each step reads that are no padding, (step, sample, position)."""
    is_text = np.array([[not token.padding for token in tokens] for tokens in texts])
    places = np.arange(is_text.shape[1])
    is_read = np.array([(start <= places) & (places < stop) for start, stop in windows])
    return np.asarray(is_read[:, None] & is_text)


def _name(trace: Trace, branch: str, start: int) -> tuple[Token, ...]:
    """Name positions by their number where no one text is known: of several, or of a killed run.

    There the trace has the masks that the text began as, not what its last step left.
    """
    tokens = trace.tokens(branch)
    if not records_decisions(trace.manifest):
        return tokens
    written = trace.written("tokens").sel(branch=branch).isel(step=-1, sample=0).values
    text = tokens[start:]
    if [token.id for token in text] == written[start:].tolist():
        return tokens
    named = (replace(token, text=f"[{token.position}]") for token in text)
    return (*tokens[:start], *named)


def read_maps(trace: Trace, choice: TextSelection) -> Iterator[tuple[int, int, TokenMaps]]:
    """Yield (place of the step, place of the layer, A of every sample), step by step.

    A is (sample, query, key), float64, without what float16 cost the sums of its rows; rows that
    the step did not compute are NaN. One of them is in memory at a time.
    """
    arrays = [trace.maps(layer.index, BLOCK).sel(branch=choice.branch) for layer in choice.layers]
    for index, step in enumerate(choice.steps):
        for number, array in enumerate(arrays):
            maps = normalise(array.sel(step=step).values[..., choice.layers[number].num_sinks :])
            yield index, number, _spread(trace, choice, choice.layers[number], maps)


def read_heads(trace: Trace, choice: TextSelection, layer: Layer, step: int) -> HeadTokenMaps:
    """Return the attention of every head, (sample, head, query, key), float64, rows sum to 1.

    It is stored, or recomputed from factors. Rows that the step did not compute are NaN.
    """
    samples, span = trace.manifest.samples, trace.steps[_place(trace, step)].span
    rows, columns = (0, layer.num_queries), (0, layer.num_keys)
    if span is not None:
        rows, columns = step_windows(layer, trace.manifest, span)
    whole = np.full((samples, layer.num_heads, layer.num_queries, layer.num_keys), np.nan)
    if rows[0] < rows[1]:
        whole[:, :, slice(*rows), slice(*columns)] = [
            trace.probs(layer.index, step, BLOCK, choice.branch, sample).values
            for sample in range(samples)
        ]
    return _spread(trace, choice, layer, normalise(whole[..., layer.num_sinks :]))


def _place(trace: Trace, step: int) -> int:
    return [each.index for each in trace.steps].index(step)


def _spread(trace: Trace, choice: TextSelection, layer: Layer, maps: Numbers) -> Numbers:
    """Lay a layer's maps (…, query, key) where its positions are in the text: NaN are no rows."""
    if maps.shape[-2:] == (choice.length, choice.length):
        return maps
    rows, columns = (_positions(trace, side) for side in (layer.queries, layer.keys))
    whole = np.full((*maps.shape[:-2], choice.length, choice.length), np.nan)
    whole[..., np.array(rows)[:, None], columns] = maps
    return fill_keys(whole)


def _positions(trace: Trace, segments: Sequence[Segment]) -> list[int]:
    spans = spans_of(trace.manifest)
    return [
        place
        for segment in segments
        if segment.kind != "sink"
        for place in range(*spans[segment.name])
    ]


def fill_keys(values: Numbers) -> Numbers:
    """Give keys that were not there yet, the last axis, 0 where others received something."""
    absent = np.isnan(values)
    if not absent.any():
        return values
    return np.where(absent & ~absent.all(-1, keepdims=True), 0.0, values)


def normalise(maps: np.ndarray) -> Numbers:
    """Return maps in float64 whose rows sum to 1; rows of zeros and NaN stay.

    In a row that has some keys, NaN are keys that were not there yet: they receive 0.
    """
    exact = fill_keys(maps.astype(np.float64))
    sums = exact.sum(-1, keepdims=True)
    np.divide(exact, sums, out=exact, where=sums > 0)
    return exact


def read_measure(trace: Trace, choice: TextSelection, name: str, block: str) -> Numbers:
    """Return a measure of every layer, (layer, step, sample, head, …), float64.

    NaN is what a step did not compute. Where layers have fewer heads than others, those that they
    lack are NaN, too; keys are those of the whole text.
    """
    values = [
        trace.measure(name, layer.index, block)
        .sel(branch=choice.branch, step=list(choice.steps))
        .values.astype(np.float64)
        for layer in choice.layers
    ]
    if name == "mass":
        for number, layer in enumerate(choice.layers):
            whole = np.full((*values[number].shape[:-1], choice.length), np.nan)
            whole[..., _positions(trace, layer.keys)] = values[number][..., layer.num_sinks :]
            values[number] = fill_keys(whole)
    stacked = np.full((len(values), *np.max([each.shape for each in values], axis=0)), np.nan)
    for whole, each in zip(stacked, values, strict=True):
        whole[tuple(slice(size) for size in each.shape)] = each
    return stacked


def mean_over_steps(values: Numbers, rows: NDArray[np.bool_]) -> Numbers:
    """Return the mean over steps; each row of the text that a step computed counts the same.

    Args:
        values: (layer, step, sample, …), means over the rows of a step; NaN where it has none.
        rows: which rows each step computed, (step, sample, position).

    Returns:
        (layer, sample, …); NaN where no step has any.
    """
    present = ~np.isnan(values)
    counts = rows.sum(-1)
    weights = counts.reshape(1, *counts.shape, *(1,) * (values.ndim - 3)) * present
    count = weights.sum(1)
    total = (np.where(present, values, 0.0) * weights).sum(1)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


class MapMean:
    """The mean of maps over steps: each row, over the steps that computed it.

    Args:
        shape: of all maps that are averaged, (…, query, key).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._total = np.zeros(shape)
        self._count = np.zeros((*shape[:-1], 1))

    def add(self, place: int, maps: Numbers) -> None:
        """Add the maps of one step, NaN where it has no row, to those at a place."""
        there = ~np.isnan(maps[..., :1])
        self._total[place] += np.where(there, maps, 0.0)
        self._count[place] += there

    def values(self) -> Numbers:
        """Return the means; NaN where no step had a row."""
        none = np.full_like(self._total, np.nan)
        return np.divide(self._total, self._count, out=none, where=self._count > 0)


def read_written(trace: Trace, choice: TextSelection, name: str) -> np.ndarray:
    """Return a measure of the written tokens (`schema.STEP_MEASURES`): (step, sample, position).

    Where the trace does not say what was decided when, nothing was masked.
    """
    if name == "masked" and not records_decisions(trace.manifest):
        return np.zeros(choice.rows.shape, np.uint8)
    array = trace.written(name).sel(branch=choice.branch, step=list(choice.steps))
    return np.asarray(array.values)


def lay_out(axes: Mapping[str, Sequence[Any]], values: Mapping[str, Numbers]) -> Table:
    """Return a tidy table: a row per cell, first the coordinates, then the values.

    Args:
        axes: labels by the name of each axis, in order.
        values: arrays over all these axes, by the name of their column.
    """
    indices = np.indices([len(labels) for labels in axes.values()]).reshape(len(axes), -1)
    cells = {
        name: np.asarray(labels)[index]
        for (name, labels), index in zip(axes.items(), indices, strict=True)
    }
    return make_table(cells | {name: array.reshape(-1) for name, array in values.items()})


def stack_rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of rows that all have the same columns; there must be some."""
    return make_table({name: [row[name] for row in rows] for name in rows[0]})


def axes_of(choice: TextSelection, samples: int) -> dict[str, Sequence[Any]]:
    """Return the labels of the axes layer, step and sample."""
    return {
        "layer": [layer.index for layer in choice.layers],
        "step": choice.steps,
        "sample": range(samples),
    }
