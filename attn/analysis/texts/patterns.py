"""The shape of attention, layer by layer and step by step.

Definitions, on A as in `attn.analysis.texts.texts`:

- entropy   mean over rows and heads of -Σ p ln p, in nats, from the float32 measure `entropy`,
            which knows single heads. ln T where every key gets the same.
- density   T · max A: how much more than its even part the most read key of any row gets.
- focus     Σ_i A[i, i] / T: the part of a row that stays on its own position.
- distance  mean over rows of Σ_j A[i, j] · |i - j|, in positions.
- earlier, own, later   mean over the rows of the text of Σ_{j < i}, j = i and Σ_{j > i} of A[i, j]:
            they sum to 1. A causal model has 0 in `later`.
- profile   Σ_{|i - j| = d} A[i, j] / T for every distance d, mean over steps; sums to 1.

Source: density and focus are those of MMaDA's attention visualisation. Its entropy is that of A / T
as one distribution of T² numbers, ln T + the mean entropy of A's rows; here heads are not mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.result import Result
from attn.analysis.texts.texts import (
    BLOCK,
    PromptOptions,
    axes_of,
    choose,
    lay_out,
    read_maps,
    read_measure,
)
from attn.analysis.words.word_sums import Numbers
from attn.shapes import TokenMaps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = Needs(written=True, stepwise=True, measures=(f"map.{BLOCK}", f"entropy.{BLOCK}"))
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
    profile = np.zeros((shape[0], samples, choice.length))
    for step, layer, maps in read_maps(trace, choice):
        for name, values in measure(maps, choice.prompt).items():
            measures[name][layer, step] = values
        profile[layer] += profile_of(maps) / len(choice.steps)
    measures["entropy"] = read_measure(trace, choice, "entropy", BLOCK).mean(axis=3)
    axes = axes_of(choice, samples)
    along = {"layer": axes["layer"], "sample": axes["sample"], "distance": range(choice.length)}
    tables = {
        "patterns/patterns.csv": lay_out(axes, measures),
        "patterns/profile.csv": lay_out(along, {"mass": profile}),
    }
    stacked = xr.DataArray(
        np.moveaxis(np.stack([measures[name] for name in MEASURES]), 3, 1),
        {"measure": list(MEASURES), "layer": list(axes["layer"]), "step": list(choice.steps)},
        ("measure", "sample", "layer", "step"),
    )
    return Result(tables, {"patterns": stacked})


def measure(maps: TokenMaps, prompt: int) -> dict[str, Numbers]:
    """Return all measures but entropy of some maps, each (sample,).

    Args:
        maps: (sample, query, key), rows sum to 1.
        prompt: position at which the text begins.
    """
    length = maps.shape[-1]
    positions = np.arange(length)
    apart = np.abs(positions[:, None] - positions)
    return {
        "density": length * maps.max((1, 2)),
        "focus": maps[:, positions, positions].sum(-1) / length,
        "distance": (maps * apart).sum((1, 2)) / length,
        **causal_split(maps, prompt),
    }


def causal_split(maps: Numbers, prompt: int) -> dict[str, Numbers]:
    """Return `earlier`, `own` and `later` of some maps, each (…); they sum to 1.

    Args:
        maps: (…, query, key), rows sum to 1.
        prompt: position at which the text begins.
    """
    positions = np.arange(maps.shape[-1])
    text = maps[..., prompt:, :]
    diagonal = text[..., positions[prompt:] - prompt, positions[prompt:]].mean(-1)
    earlier = (text * (positions < positions[prompt:, None])).sum(-1).mean(-1)
    return {
        "earlier": earlier,
        "own": diagonal,
        "later": text.sum(-1).mean(-1) - earlier - diagonal,
    }


def profile_of(maps: TokenMaps) -> Numbers:
    """Return the mass at every distance, (sample, distance)."""
    length = maps.shape[-1]
    positions = np.arange(length)
    apart = np.abs(positions[:, None] - positions).ravel()
    return np.stack(
        [np.bincount(apart, matrix.ravel(), minlength=length) / length for matrix in maps]
    )
