"""Whole attention matrices as pictures, and the strongest pairs of tokens in them.

Per layer, on A as in `texts.texts`: the mean over the steps, the first step, the last one,
and last minus first. With head maps or factors also every head of chosen steps. A pair is one
cell of the mean: how much of its row a query gives to a key, 0 to 1.

Where each step reads only a part of a text, the mean has every row from the step that computed it:
it is the matrix of the whole text. First, last and change have no row in common and are left out;
the heads are those of the whole text, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.needs import Needs, find_lack
from attn.analysis.numbers import mean_present
from attn.analysis.result import Result
from attn.analysis.tables import Table
from attn.analysis.texts.texts import (
    BLOCK,
    NEEDS_MAPS,
    MapMean,
    PromptOptions,
    TextSelection,
    choose,
    read_heads,
    read_maps,
    read_written,
    stack_rows,
)
from attn.analysis.words.select import select_steps
from attn.schema import Layer
from attn.shapes import HeadTokenMaps

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = NEEDS_MAPS
WANTS = Needs(measures=(f"headmap.{BLOCK}",))
KINDS = ("mean", "first", "last", "change")
READ = ("prompt", "masked", "decided")
"""What a row of the text reads, by the state of the key; its own position counts as its state."""
LARGEST = 12.0


@dataclass(frozen=True)
class MatricesOptions(PromptOptions):
    """Options of the analysis of matrices, with the size of their figures."""

    max_tokens: int | None = field(
        default=None, metadata={"help": "draw only this many tokens, the first"}
    )
    topk: int = field(default=20, metadata={"help": "strongest pairs in pairs.csv, per layer"})
    head_steps: tuple[str, ...] = field(
        default=(), metadata={"help": "steps whose heads are drawn; empty is the first and last"}
    )
    size: float = field(default=4.0, metadata={"help": "inches of one matrix, 1 to 12"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.topk < 1 or (self.max_tokens is not None and self.max_tokens < 1):
            raise ValueError(
                f"topk and max_tokens must be at least 1; got {self.topk} and {self.max_tokens}"
            )
        if not 1 <= self.size <= LARGEST:
            raise ValueError(f"size must be 1 to 12 inches; got {self.size:g}")


def run(trace: Trace, options: MatricesOptions) -> Result:
    """Collect the matrices to draw.

    Returns:
        `matrices/pairs.csv`; the arrays `layers`, (layer, kind, sample, query, key), `read`, what
        the text's rows read of the keys in each state, (layer, sample, state, step), and with head
        maps `heads`, (layer, step, sample, head, query, key).

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice, samples = choose(trace, options), trace.manifest.samples
    kinds = KINDS[:1] if choice.is_growing else KINDS
    shape = (len(choice.layers), len(kinds), samples, choice.length, choice.length)
    matrices = np.zeros(shape, np.float32)
    mean, last = MapMean((shape[0], *shape[2:])), len(choice.steps) - 1
    masked = read_written(trace, choice, "masked").astype(bool)
    read = np.zeros((shape[0], samples, len(READ), len(choice.steps)))
    for step, layer, maps in read_maps(trace, choice):
        read[layer, :, :, step] = _read_states(maps, masked[step], choice.prompt)
        mean.add(layer, maps)
        for kind, of_step in (("first", 0), ("last", last)):
            if kind in kinds and step == of_step:
                matrices[layer, kinds.index(kind)] = maps
    matrices[:, 0] = mean.values()
    if "change" in kinds:
        matrices[:, 3] = matrices[:, 2] - matrices[:, 1]
    arrays = {
        "layers": _label(matrices, ("layer", "kind", "sample", "query", "key"), choice, options)
    }
    arrays["read"] = xr.DataArray(
        read,
        {"layer": arrays["layers"]["layer"], "state": list(READ), "step": list(choice.steps)},
        ("layer", "sample", "state", "step"),
    )
    if find_lack(WANTS, trace.manifest) is None:
        arrays["heads"] = _read_heads(trace, choice, options)
    return Result({"matrices/pairs.csv": _strongest(matrices[:, 0], choice, options.topk)}, arrays)


def _read_states(
    maps: NDArray[np.float64], masked: NDArray[np.bool_], prompt: int
) -> NDArray[np.float64]:
    """Return the mean mass of the text's rows on the keys in each state, (sample, state)."""
    received = mean_present(maps[:, prompt:], 1)
    is_prompt = np.arange(maps.shape[-1]) < prompt
    states = (np.broadcast_to(is_prompt, masked.shape), masked & ~is_prompt, ~masked & ~is_prompt)
    return np.stack([(received * state).sum(-1) for state in states], -1)


def _read_heads(trace: Trace, choice: TextSelection, options: MatricesOptions) -> xr.DataArray:
    """Return every head of the chosen steps, of a text that grows those of the whole text."""
    ends = tuple(dict.fromkeys((choice.steps[0], choice.steps[-1])))
    steps = select_steps(trace.steps, options.head_steps) if options.head_steps else ends
    if choice.is_growing:
        steps = choice.steps[-1:]
    heads = np.stack(
        [
            [_heads(trace, choice, layer, step).astype(np.float32) for step in steps]
            for layer in choice.layers
        ]
    )
    dims = ("layer", "step", "sample", "head", "query", "key")
    return _label(heads, dims, choice, options).assign_coords(step=list(steps))


def _heads(trace: Trace, choice: TextSelection, layer: Layer, step: int) -> HeadTokenMaps:
    """Return every head in one step, or of the whole text where each step has a part of it."""
    if not choice.is_growing:
        return read_heads(trace, choice, layer, step)
    length, samples = choice.length, trace.manifest.samples
    mean = MapMean((1, samples, layer.num_heads, length, length))
    for each in choice.steps:
        mean.add(0, read_heads(trace, choice, layer, each))
    return np.asarray(mean.values()[0])


def _label(
    values: np.ndarray, dims: tuple[str, ...], choice: TextSelection, options: MatricesOptions
) -> xr.DataArray:
    """Name the axes, and leave the tokens that are not drawn."""
    import xarray as xr

    most = options.max_tokens
    coords: dict[str, Any] = {
        "layer": [layer.index for layer in choice.layers],
        "token": choice.labels("key", most),
    }
    if "kind" in dims:
        coords["kind"] = list(KINDS[: values.shape[dims.index("kind")]])
    shown = values[..., :most, :most]
    attrs: dict[str, Any] = {"prompt": choice.prompt, "size": options.size}
    attrs |= {"steps": (choice.steps[0], choice.steps[-1]), "growing": choice.is_growing}
    return xr.DataArray(shown, coords, dims, attrs=attrs)


def _strongest(means: NDArray[np.float32], choice: TextSelection, most: int) -> Table:
    """List the largest cells of every layer's mean, largest first."""
    rows = []
    for number, sample in np.ndindex(means.shape[:2]):
        matrix = means[number, sample]
        there = np.count_nonzero(~np.isnan(matrix))
        order = np.argsort(-matrix, axis=None, kind="stable")[: min(most, there)]
        for query, key in np.stack(np.unravel_index(order, matrix.shape), 1).tolist():
            rows.append(
                {
                    "layer": choice.layers[number].index,
                    "sample": sample,
                    "query": query,
                    "query_token": choice.text(query, sample),
                    "key": key,
                    "key_token": choice.text(key, sample),
                    "mass": float(matrix[query, key]),
                }
            )
    return stack_rows(rows)
