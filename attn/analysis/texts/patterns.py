"""The shape of attention, layer by layer and step by step.

Definitions, on A as in `attn.analysis.texts.texts`:

- entropy   mean over rows and heads of -Σ p ln p, in nats, from the float32 measure `entropy`,
            which knows single heads. ln T where every key gets the same.
- density   T · max A: how much more than its even part the most read key of any row gets; of a step
            that reads only a part of a text, T is the number of its keys.
- focus     mean over rows of A[i, i]: the part of a row that stays on its own position.
- distance  mean over rows of Σ_j A[i, j] · |i - j|, in positions.
- earlier, own, later   mean over the rows of the text of Σ_{j < i}, j = i and Σ_{j > i} of A[i, j]:
            they sum to 1. A causal model has 0 in `later`.
- profile   mean over rows of Σ_{|i - j| = d} A[i, j] for every distance d, over the rows of all
            steps; sums to 1.

Source: density and focus are those of MMaDA's attention visualisation. Its entropy is that of A / T
as one distribution of T² numbers, ln T + the mean entropy of A's rows; here heads are not mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.result import Result
from attn.analysis.texts.texts import (
    BLOCK,
    PromptOptions,
    axes_of,
    choose,
    lay_out,
    mean_over_steps,
    read_maps,
    read_measure,
)
from attn.shapes import TokenMaps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = Needs(texts=True, stepwise=True, measures=(f"map.{BLOCK}", f"entropy.{BLOCK}"))
MEASURES = ("entropy", "density", "focus", "distance", "earlier", "own", "later")

Options = PromptOptions


def run(trace: Trace, options: PromptOptions) -> Result:
    """Analyse the shape of attention.

    Returns:
        `patterns/patterns.csv`, `patterns/profile.csv`; the array `patterns`, (measure, sample,
        layer, step).

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice, samples = choose(trace, options), trace.manifest.samples
    shape = (len(choice.layers), len(choice.steps), samples)
    measures = {name: np.empty(shape) for name in MEASURES}
    profiles = np.empty((*shape, choice.length))
    for step, layer, maps in read_maps(trace, choice):
        for name, values in measure(maps, choice.prompt, choice.keys[step]).items():
            measures[name][layer, step] = values
        profiles[layer, step] = profile_of(maps)
    measures["entropy"] = mean_present(read_measure(trace, choice, "entropy", BLOCK), 3)
    axes = axes_of(choice, samples)
    along = {"layer": axes["layer"], "sample": axes["sample"], "distance": range(choice.length)}
    tables = {
        "patterns/patterns.csv": lay_out(axes, measures),
        "patterns/profile.csv": lay_out(along, {"mass": mean_over_steps(profiles, choice.rows)}),
    }
    stacked = xr.DataArray(
        np.moveaxis(np.stack([measures[name] for name in MEASURES]), 3, 1),
        {"measure": list(MEASURES), "layer": list(axes["layer"]), "step": list(choice.steps)},
        ("measure", "sample", "layer", "step"),
    )
    return Result(tables, {"patterns": stacked})


def measure(maps: TokenMaps, prompt: int, keys: int) -> dict[str, Numbers]:
    """Return all measures but entropy of some maps, each (sample,); NaN without a row.

    Args:
        maps: (sample, query, key), rows sum to 1, or are NaN and none.
        prompt: position at which the text begins.
        keys: how many there are.
    """
    positions = np.arange(maps.shape[-1])
    apart = np.abs(positions[:, None] - positions)
    most = np.fmax.reduce(maps.max(2), axis=1)
    return {
        "density": keys * most,
        "focus": mean_present(maps[:, positions, positions], 1),
        "distance": mean_present((maps * apart).sum(2), 1),
        **causal_split(maps, prompt),
    }


def causal_split(maps: Numbers, prompt: int) -> dict[str, Numbers]:
    """Return `earlier`, `own` and `later` of some maps, each (…); they sum to 1.

    Args:
        maps: (…, query, key), rows sum to 1, or are NaN and none.
        prompt: position at which the text begins.
    """
    positions = np.arange(maps.shape[-1])
    text = maps[..., prompt:, :]
    apart = positions - positions[prompt:, None]
    parts = {"earlier": apart < 0, "own": apart == 0, "later": apart > 0}
    return {name: mean_present((text * keys).sum(-1), -1) for name, keys in parts.items()}


def profile_of(maps: TokenMaps) -> Numbers:
    """Return the mass at every distance, (sample, distance), mean over rows; NaN without one."""
    length = maps.shape[-1]
    positions = np.arange(length)
    apart = np.abs(positions[:, None] - positions)
    there = ~np.isnan(maps[..., 0])
    sums = [
        np.bincount(apart[rows].ravel(), matrix[rows].ravel(), minlength=length)
        for matrix, rows in zip(maps, there, strict=True)
    ]
    counts = there.sum(1)[:, None]
    means = np.full((len(maps), length), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means
