"""What the analyses of written texts share: what is looked at, and the maps one after the other.

Here A is the head mean of one layer, step and sample: a row per query, a column per key, rows sum
to 1. T is the number of positions, p the length of the prompt; rows and columns from p on are those
that the model writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.tables import Table, make_table
from attn.analysis.words.select import select_layers, select_steps
from attn.analysis.words.word_sums import Numbers
from attn.errors import AnalysisError
from attn.schema import Layer, Token
from attn.shapes import HeadTokenMaps, TokenMaps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

BLOCK = "all.all"
NEEDS_MAPS = Needs(written=True, stepwise=True, measures=(f"map.{BLOCK}",))


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
        prompt: p, the position at which the text begins.
        tokens: of every position, those of the text as it is in the end.
    """

    branch: str
    layers: tuple[Layer, ...]
    steps: tuple[int, ...]
    prompt: int
    tokens: tuple[Token, ...]

    @property
    def length(self) -> int:
        """T, the number of positions."""
        return len(self.tokens)

    def segment(self, position: int) -> str:
        """Return `prompt` or `generated`."""
        return "prompt" if position < self.prompt else "generated"


def choose(trace: Trace, options: TextOptions, block: str = BLOCK) -> TextSelection:
    """Select what to analyse among the layers that have a block.

    Raises:
        AnalysisError: a layer, step or branch is not there, or no text is left behind the prompt.
    """
    branch = options.branch or trace.branches[0]
    if branch not in trace.branches:
        listed = ", ".join(trace.branches)
        raise AnalysisError(f"branch '{branch}' was not captured; there is {listed}")
    segments = trace.manifest.segments[branch]
    default = next(segment.start for segment in segments if segment.is_generated)
    requested = options.prompt_length if isinstance(options, PromptOptions) else None
    prompt = default if requested is None else requested
    tokens = _name(trace, branch, default)
    if prompt >= len(tokens):
        raise AnalysisError(
            f"prompt_length {prompt} leaves nothing of the {len(tokens)} positions; "
            f"the run's own is {default}"
        )
    captured = [layer for layer in trace.layers if block in layer.blocks]
    layers = select_layers(captured, options.layers)[: options.max_layers]
    return TextSelection(branch, layers, select_steps(trace.steps, options.steps), prompt, tokens)


def _name(trace: Trace, branch: str, start: int) -> tuple[Token, ...]:
    """Name positions by their number where no one text is known: of several, or of a killed run.

    There the trace has the masks that the text began as, not what its last step left.
    """
    tokens = trace.tokens(branch)
    written = trace.written("tokens").sel(branch=branch).isel(step=-1, sample=0).values
    text = tokens[start:]
    if [token.id for token in text] == written[start:].tolist():
        return tokens
    named = (replace(token, text=f"[{token.position}]") for token in text)
    return (*tokens[:start], *named)


def read_maps(trace: Trace, choice: TextSelection) -> Iterator[tuple[int, int, TokenMaps]]:
    """Yield (place of the step, place of the layer, A of every sample), step by step.

    A is (sample, query, key), float64, without what float16 cost the sums of its rows. One of them
    is in memory at a time.
    """
    arrays = [trace.maps(layer.index, BLOCK).sel(branch=choice.branch) for layer in choice.layers]
    for index, step in enumerate(choice.steps):
        for number, array in enumerate(arrays):
            yield index, number, normalise(array.sel(step=step).values)


def read_heads(trace: Trace, choice: TextSelection, layer: int, step: int) -> HeadTokenMaps:
    """Return the attention of every head, (sample, head, query, key), float64, rows sum to 1.

    It is stored, or recomputed from factors.
    """
    cells = [
        trace.probs(layer, step, BLOCK, choice.branch, sample).values
        for sample in range(trace.manifest.samples)
    ]
    return normalise(np.stack(cells))


def normalise(maps: np.ndarray) -> Numbers:
    """Return maps in float64 whose rows sum to 1; rows of zeros stay."""
    exact: Numbers = maps.astype(np.float64)
    sums = exact.sum(-1, keepdims=True)
    np.divide(exact, sums, out=exact, where=sums > 0)
    return exact


def read_measure(trace: Trace, choice: TextSelection, name: str, block: str) -> Numbers:
    """Return a measure of every layer, (layer, step, sample, head, …), float64."""
    values = [
        trace.measure(name, layer.index, block)
        .sel(branch=choice.branch, step=list(choice.steps))
        .values.astype(np.float64)
        for layer in choice.layers
    ]
    return np.stack(values)


def read_written(trace: Trace, choice: TextSelection, name: str) -> np.ndarray:
    """Return a measure of the written tokens (`schema.STEP_MEASURES`): (step, sample, position)."""
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
